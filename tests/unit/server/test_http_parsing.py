"""Bytes to requests: what could be understood in two ways is refused, and how the bytes are cut makes no difference."""

from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from edgemodel_server.http.head_cache import MAX_HEAD_BYTES, MAX_HEADS, HeadCache
from edgemodel_server.http.parsing import FRAMING_BYTES, ChunkedBody, check_begin, read_head
from edgemodel_server.http.wire import ProtocolError


def head(*lines: bytes, start: bytes = b"POST /path HTTP/1.1", host: bytes = b"Host: server") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def test_a_request_is_read() -> None:
    request = read_head(head(b"Content-Length: 3", b"X-Name: Andr\xe9", start=b"PUT /a%20b?c=d HTTP/1.1"))
    assert (request.method, request.path, request.raw_path, request.query) == (b"PUT", "/a b", b"/a%20b", b"c=d")
    assert request.headers == ((b"host", b"server"), (b"content-length", b"3"), (b"x-name", b"Andr\xe9"))
    assert (request.length, request.keep_alive, request.expects_continue) == (3, True, False)


@pytest.mark.parametrize(
    ("lines", "version", "keeps"),
    [
        ([], b"1.1", True),
        ([b"Connection: close"], b"1.1", False),
        ([b"Connection: keep-alive, Close"], b"1.1", False),
        ([], b"1.0", False),
        ([b"Connection: Keep-Alive"], b"1.0", True),
    ],
)
def test_who_wants_to_keep_the_connection(lines: list[bytes], version: bytes, keeps: bool) -> None:
    assert read_head(head(*lines, start=b"GET / HTTP/" + version)).keep_alive is keeps


@pytest.mark.parametrize("line", [b"Upgrade: h2c", b"uPGRADE:websocket", b"Upgrade: h2c\r\nUpgrade: websocket"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_an_offer_to_change_the_protocol_is_passed_over(line: bytes, framing: bytes) -> None:
    for lines in ([line, framing], [framing, line]):
        request = read_head(head(b"Connection: Upgrade, HTTP2-Settings", *lines))
        assert request.length == (5 if b"5" in framing else None)
        assert request.keep_alive
        assert not any(b"upgrade" in name for name, _ in request.headers)


REFUSED: list[tuple[bytes, int]] = [
    (head(host=b""), 400),
    (head(b"Host: server"), 400),
    (head(host=b"Host: a b"), 400),
    (head(host=b"Host: user@server"), 400),
    (head(start=b"GET /"), 400),
    (head(start=b"GET / HTTP/2.0"), 505),
    (head(start=b"PRI * HTTP/2.0"), 505),
    (head(start=b"GET / HTTP/1.2"), 505),
    (head(start=b"GET / HTTP/1.10"), 400),
    (head(start=b"GET / RTSP/1.0"), 400),
    (head(start=b"GET  / HTTP/1.1"), 400),
    (head(start=b"GET / HTTP/1.1 "), 400),
    (head(start=b"GET * HTTP/1.1"), 400),
    (head(start=b"GET path HTTP/1.1"), 400),
    (head(start=b"CONNECT server:80 HTTP/1.1"), 400),
    (head(b"Transfer-Encoding: gzip, chunked"), 501),
    (head(b"Transfer-Encoding: chunked, gzip"), 400),
    (head(b"Transfer-Encoding: identity"), 400),
    (head(b"Transfer-Encoding: xchunked"), 400),
    (head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    (head(b"Transfer-Encoding: chunked", b"Content-Length: 3"), 400),
    (head(b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400),
    (head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), 400),
    (head(b"Content-Length: 3", b"Content-Length: 3"), 400),
    (head(b"Content-Length: 3, 3"), 400),
    (head(b"Content-Length: +3"), 400),
    (head(b"Content-Length: 0x3"), 400),
    (head(b"Content-Length: " + b"9" * 30), 400),
    (head(b"Content-Length:"), 400),
    (head(b"X-API-Key: a", b"x-api-key: b"), 400),
    (head(b"Authorization: Bearer a", b"Authorization: Bearer b"), 400),
    (head(b"X-Folded: a\r\n b"), 400),
    (head(b"X-Name : a"), 400),
    (head(b"X Name: a"), 400),
    (head(b"X-Null: a\x00b"), 400),
    (head(b"X-Return: a\rb"), 400),
    (head(b"Upgrade: a\x00b"), 400),
    (head(b"X-Feed: a\nX-Other: b"), 400),
    (head(start="GET /é HTTP/1.1".encode()), 400),
]


@pytest.mark.parametrize(("content", "status"), REFUSED)
def test_what_is_not_clear_is_refused(content: bytes, status: int) -> None:
    with pytest.raises(ProtocolError) as refused:
        read_head(content)
    assert refused.value.status == status


@given(st.binary(max_size=60), st.integers(1, 80))
@example(b"\r", 1)
def test_a_head_that_can_still_become_one_is_waited_for(noise: bytes, cut: int) -> None:
    whole = head(b"X-Name: value", b"Content-Length: 3")
    assume(b"\r\n\r\n" not in whole[:cut] + noise)
    check_begin(whole[:cut], 0)
    try:
        check_begin(whole[:cut] + noise, cut)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            read_head(whole[:cut] + noise + b"\r\n\r\n")


CHUNKS = st.lists(st.binary(min_size=1, max_size=40) | st.just(b"a\r\n\r\nb"), max_size=6)
TRAILERS = st.lists(st.sampled_from([b"X-API-Key: secret\r\n", b"A: b\r\n"]), max_size=3)


@given(chunks=CHUNKS, trailers=TRAILERS, behind=st.binary(max_size=40), cuts=st.lists(st.floats(0, 1), max_size=6))
@example(chunks=[b"abc"], trailers=[], behind=b"GET / HTTP/1.1\r\n\r\n", cuts=[0.5])
def test_chunks_are_read_up_to_their_end_however_they_are_cut(
    chunks: list[bytes], trailers: list[bytes], behind: bytes, cuts: list[float]
) -> None:
    body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + b"".join(trailers)
    body += b"\r\n"
    content = body + behind
    reader, found, used = ChunkedBody(), b"", 0
    for begin, end in pairwise(sorted({0, len(content), *(round(cut * len(content)) for cut in cuts)})):
        if reader.is_complete:
            break
        piece, count = reader.feed(content[begin:end])
        found += piece
        used += count
    assert reader.is_complete
    assert (found, used) == (b"".join(chunks), len(body))


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n",
        b"3\r\nabcd\r\n",
        b"3\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"-3\r\nabc\r\n",
        b"fffffffffffffffff\r\nabc\r\n",
        b"3;a\x00\r\nabc\r\n",
        b"0\r\nA b\r\n\r\n",
        b"0\r\n Folded: a\r\n\r\n",
    ],
)
def test_what_are_no_chunks_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        ChunkedBody().feed(content)


@pytest.mark.parametrize("filling", [b"3;" + b"a" * 1000, b"0\r\n" + b"A: b\r\n" * 200])
def test_what_comes_beside_the_body_is_bounded(filling: bytes) -> None:
    body = ChunkedBody()
    more = b"a" * 100 if filling.startswith(b"3") else b"X-Long: " + b"a" * 100 + b"\r\n"

    def feed_all() -> None:
        body.feed(filling)
        for _ in range(FRAMING_BYTES // 100):
            body.feed(more)

    with pytest.raises(ProtocolError) as refused:
        feed_all()
    assert refused.value.status == 431


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    cache = HeadCache()
    for number in range(MAX_HEADS + 1):
        content = head(start=b"GET /%d HTTP/1.1" % number)
        cache.add(content, read_head(content))
        assert cache.find(content) == read_head(content)
    assert len(cache) == 1
    long = head(b"X-Long: " + b"a" * MAX_HEAD_BYTES)
    cache.add(long, read_head(long))
    assert cache.find(long) is None
