"""Where a request's body ends (RFC 9112, 6 and 7): what is in doubt is refused, and nobody's answer goes to another.

Each case is sent twice, and after it a victim's request on the same connection. The body of what is sent holds
a further request, which must never be answered. Then the same through nginx, where the victims come over connections
of their own.
"""

import pytest

from tests.abuse.outcomes import SMUGGLED, VICTIM, Case, exchange
from tests.abuse.wire import INFER, Answer, NoAnswer, Silence, Wire, infer, infer_body

pytestmark = pytest.mark.usefixtures("attack")

INNER = infer(SMUGGLED)
OWN = infer_body("own")


def request(*fields: bytes, body: bytes = b"", start: bytes = b"POST " + INFER.encode() + b" HTTP/1.1") -> bytes:
    """A request with ``fields`` beside Host and type, and after them ``body``."""
    return b"\r\n".join([start, b"Host: server", b"Content-Type: application/json", *fields, b"", b""]) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", fields: tuple[bytes, ...] = ()) -> bytes:
    """A request in chunks, as they are."""
    return request(b"Transfer-Encoding: chunked", *fields, body=b"".join(chunks) + end)


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    """One chunk."""
    return b"%x%b\r\n%b\r\n" % (len(content), extension, content)


def length(value: bytes) -> bytes:
    """The header Content-Length."""
    return b"Content-Length: " + value


N = b"%d" % len(OWN)
END = b"0\r\n\r\n"

REFUSED = [
    *(
        Case(f"Content-Length {value.decode('latin-1')!r}", request(length(value), body=OWN + INNER))
        for value in (
            *(b"+" + N, b"-" + N, b"-1", b"0x" + N, N + b" " + N, N + b"_0", N + b".0", N + b"e0", N + b";a=b", b"one"),
            *(b"", b"\x0b" + N, b"'" + N + b"'", b'"' + N + b'"', b"18446744073709551616", b"1" * 400),
            *(N + b", 0", b"0, " + N, N + b"," + N + b"1"),
            "٣".encode(),
        )
    ),
    Case("two lengths", request(length(N), length(b"0"), body=OWN + INNER)),
    Case("two lengths, the right one last", request(length(b"0"), length(N), body=OWN + INNER)),
    Case("two codings of a transfer", chunked(chunk(OWN), fields=(b"Transfer-Encoding: identity",))),
    *(
        Case(f"Transfer-Encoding {value!r}", request(b"Transfer-Encoding: " + value, body=chunk(OWN) + END + INNER))
        for value in (
            *(b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"chunked, gzip", b"identity", b"gzip"),
            *(b"xchunked", b"chunkedx", b"x chunked", b"\x0bchunked", b"chunked\x0c", b"'chunked'", b'"chunked"'),
            *(b"chunked;q=1", b"chunked\xff", b"chunk\xc3\xa9d", b"", b";chunked", b"chunked:"),
        )
    ),
    Case(
        "Transfer-Encoding with a space before its colon",
        request(b"Transfer-Encoding : chunked", body=chunk(OWN) + END),
    ),
    Case("Transfer-Encoding with an underscore and no length", request(b"Transfer_Encoding: chunked", length(b"x"))),
    Case(
        "a transfer's coding in HTTP/1.0",
        request(
            b"Transfer-Encoding: chunked", body=chunk(OWN) + END + INNER, start=b"POST " + INFER.encode() + b" HTTP/1.0"
        ),
    ),
    *(
        Case(f"the chunk size {size!r}", chunked(size + b"\r\n" + OWN + b"\r\n") + INNER)
        for size in (
            *(b"0x%x" % len(OWN), b"+%x" % len(OWN), b"-%x" % len(OWN), b"%x_" % len(OWN), b"%x." % len(OWN)),
            *(
                b"1" + b"0" * 15 + b"%x" % len(OWN),
                b"f" * 40,
                b"-1",
                b"",
                b"g",
                b" ",
                b"\xef\xbc\x91",
                b"%x %x" % (len(OWN), 1),
            ),
            *(b" %x" % len(OWN), b"\t%x" % len(OWN)),
        )
    ),
    Case("a chunk size that ends with a bare line feed", chunked(b"%x\n" % len(OWN) + OWN + b"\r\n") + INNER),
    Case("a chunk that ends with a bare line feed", chunked(b"%x\r\n" % len(OWN) + OWN + b"\n") + INNER),
    Case("a chunk that ends with a bare carriage return", chunked(b"%x\r\n" % len(OWN) + OWN + b"\r") + INNER),
    Case("a chunk that ends with other bytes", chunked(b"%x\r\n" % len(OWN) + OWN + b"XX") + INNER),
    Case("a chunk longer than it says", chunked(b"%x\r\n" % (len(OWN) - 2) + OWN + b"\r\n") + INNER),
    Case("a chunk extension with a bare line feed", chunked(b"%x;a\n" % len(OWN) + OWN + b"\r\n") + INNER),
    Case(
        "the last chunk's extension with a bare line feed",
        chunked(chunk(OWN), end=b"0;\nGET /v2 HTTP/1.1\r\n\r\n") + INNER,
    ),
    Case("a chunk extension with a bare carriage return", chunked(chunk(OWN, b";a\rb")) + INNER),
    Case("a chunk extension with a null", chunked(chunk(OWN, b";a\x00b")) + INNER),
    Case("the last chunk ends with a bare line feed", chunked(chunk(OWN), end=b"0\n\n") + INNER),
    Case("the trailer ends with a bare line feed", chunked(chunk(OWN), end=b"0\r\n\n") + INNER),
    Case("a trailer without a colon", chunked(chunk(OWN), end=b"0\r\nnonsense\r\n\r\n") + INNER),
    Case("a trailer with a space before its colon", chunked(chunk(OWN), end=b"0\r\nX : y\r\n\r\n") + INNER),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_body_whose_end_is_in_doubt_is_refused_twice_and_ends_the_connection(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert len(outcome.answers) == 1, outcome
        assert outcome.statuses[0] in (400, 411, 413, 501), outcome
        assert outcome.answers[0].error, outcome
        assert outcome.closed, outcome


BODY = b'{"id":"own","x":"' + INNER.replace(b"\r\n", b"    ").replace(b'"', b"'") + b'"}'

EITHER = [
    Case("both kinds of length", request(length(b"4"), b"Transfer-Encoding: chunked", body=chunk(OWN) + END)),
    Case(
        "both kinds of length, the coding first",
        request(b"Transfer-Encoding: chunked", length(b"4"), body=chunk(OWN) + END),
    ),
    Case(
        "both kinds of length, a length of nothing",
        request(length(b"0"), b"Transfer-Encoding: chunked", body=chunk(OWN) + END),
    ),
    Case("the same length twice", request(length(N), length(N), body=OWN)),
    Case("the same length twice in one header", request(length(N + b", " + N), body=OWN)),
    Case("a length with zeros in front", request(length(b"000" + N), body=OWN)),
    Case("an empty element before chunked", request(b"Transfer-Encoding: , chunked", body=chunk(OWN) + END)),
    Case("an empty element after chunked", request(b"Transfer-Encoding: chunked,", body=chunk(OWN) + END)),
    Case("the coding twice", chunked(chunk(OWN), fields=(b"Transfer-Encoding: chunked",))),
    Case("a space after a chunk's size", chunked(chunk(OWN, b" "))),
    Case("a size with sixteen digits", chunked(b"%016x\r\n%b\r\n" % (len(OWN), OWN))),
    Case("lines that end with a bare line feed", request(length(N), body=OWN).replace(b"\r\n", b"\n")),
    Case("one line that ends with a bare line feed", request(b"X-First: a\nX-Second: b", length(N), body=OWN)),
    Case("an empty line that ends with a bare line feed", request(length(N)).removesuffix(b"\r\n") + b"\n" + OWN),
    Case("a coding that is continued", request(b"Transfer-Encoding:\r\n chunked", body=chunk(OWN) + END)),
    Case("a length with an underscore for a dash", request(length(N), b"Content_Length: 0", body=OWN)),
    Case("a coding with an underscore for a dash", request(length(N), b"Transfer_Encoding: chunked", body=OWN)),
    Case("a trailer that would be a length", chunked(chunk(OWN), end=b"0\r\nContent-Length: 400\r\n\r\n")),
    Case("a trailer that would be a coding", chunked(chunk(OWN), end=b"0\r\nTransfer-Encoding: chunked\r\n\r\n")),
    Case("a trailer that would be a second Host", chunked(chunk(OWN), end=b"0\r\nHost: other\r\n\r\n")),
    Case("an expectation with something before it", request(length(N), b"Expect: y 100-continue", body=OWN)),
    Case("two expectations", request(length(N), b"Expect: 100-continue", b"Expect: 100-continue", body=OWN)),
    Case("a length that is named hop by hop", request(length(N), b"Connection: content-length", body=OWN)),
]
"""Refused, or read in the one way in which the body is ``OWN``."""


@pytest.mark.parametrize("case", EITHER, ids=str)
def test_a_doubtful_body_is_refused_or_read_in_the_right_way(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert len(outcome.answers) == 1, outcome
        if outcome.statuses == [200]:
            assert outcome.answers[0].id == "own", outcome
            assert outcome.closed or outcome.victim_answered, outcome
        else:
            assert outcome.statuses[0] in (400, 501), outcome
            assert outcome.answers[0].error, outcome
            assert outcome.closed, outcome


H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
NOT_FOUND = b"POST /v2/models/nothing/infer HTTP/1.1"

ACCEPTED = [
    Case("an upgrade to h2c", request(*H2C, length(N), body=OWN)),
    Case("an upgrade to h2c in chunks", chunked(chunk(OWN), fields=H2C)),
    Case("an upgrade to h2c without settings", request(b"Connection: Upgrade", b"Upgrade: h2c", length(N), body=OWN)),
    Case("an upgrade that Connection does not name", request(b"Upgrade: h2c", length(N), body=OWN)),
    Case("an upgrade to a websocket", request(b"Connection: upgrade", b"Upgrade: websocket", length(N), body=OWN)),
    Case("an upgrade to TLS", request(b"Connection: upgrade", b"Upgrade: TLS/1.2", length(N), body=OWN)),
    Case("an upgrade to something unknown", request(b"Connection: upgrade", b"Upgrade: x/1", length(N), body=OWN)),
    Case("chunked in capitals", request(b"Transfer-Encoding: CHUNKED", body=chunk(OWN) + END)),
    Case("chunked with a tab in front", request(b"Transfer-Encoding: \tchunked", body=chunk(OWN) + END)),
    Case("a chunk of each byte", chunked(*(chunk(OWN[at : at + 1]) for at in range(len(OWN))))),
    Case("a chunk size in capitals", chunked(b"%X\r\n%b\r\n" % (len(OWN), OWN))),
    Case("zeros before a chunk's size", chunked(b"0000%x\r\n%b\r\n" % (len(OWN), OWN))),
    Case("a chunk extension", chunked(chunk(OWN, b";name=value"))),
    Case("a quoted chunk extension", chunked(chunk(OWN, b';name="a;b"'))),
    Case("a trailer", chunked(chunk(OWN), end=b"0\r\nX-Checksum: 1\r\n\r\n")),
    Case("an expectation", request(length(N), b"Expect: 100-continue", body=OWN)),
    Case("an expectation in chunks", chunked(chunk(OWN), fields=(b"Expect: 100-continue",))),
    Case("an expectation in capitals", request(length(N), b"Expect: 100-CONTINUE", body=OWN)),
]


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_a_body_that_is_well_formed_is_read_whole(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert [answer.id for answer in outcome.answers] == ["own"], outcome
        assert outcome.victim_answered, outcome


SKIPPED = [
    Case("a body to a model that is not there", request(length(b"%d" % len(INNER)), body=INNER, start=NOT_FOUND)),
    Case(
        "a body in chunks to a model that is not there",
        request(b"Transfer-Encoding: chunked", body=chunk(INNER) + END, start=NOT_FOUND),
    ),
    Case("a body that is no JSON", request(length(b"%d" % len(INNER)), body=INNER)),
    Case("a body to GET", request(length(b"%d" % len(INNER)), body=INNER, start=b"GET /v2 HTTP/1.1")),
    Case(
        "a body in chunks to GET",
        request(b"Transfer-Encoding: chunked", body=chunk(INNER) + END, start=b"GET /v2 HTTP/1.1"),
    ),
    Case(
        "an expectation of GET",
        request(length(b"%d" % len(INNER)), b"Expect: 100-continue", body=INNER, start=b"GET /v2 HTTP/1.1"),
    ),
    Case(
        "a body in chunks to OPTIONS",
        request(b"Transfer-Encoding: chunked", body=chunk(INNER) + END, start=b"OPTIONS /v2 HTTP/1.1"),
    ),
    Case("a body to DELETE", request(length(b"%d" % len(INNER)), body=INNER, start=b"DELETE /v2 HTTP/1.1")),
    Case("a body to OPTIONS", request(length(b"%d" % len(INNER)), body=INNER, start=b"OPTIONS /v2 HTTP/1.1")),
    Case("a body to an unknown method", request(length(b"%d" % len(INNER)), body=INNER, start=b"BREW /v2 HTTP/1.1")),
    Case("a body to CONNECT", request(length(b"%d" % len(INNER)), body=INNER, start=b"CONNECT server:1 HTTP/1.1")),
    Case("a body with an upgrade", request(*H2C, length(b"%d" % len(INNER)), body=INNER)),
    Case(
        "a body with an upgrade to GET",
        request(*H2C, length(b"%d" % len(INNER)), body=INNER, start=b"GET /v2 HTTP/1.1"),
    ),
    Case("a body of an unknown coding", request(length(b"%d" % len(INNER)), b"Content-Encoding: br", body=INNER)),
    Case("a body of a broken coding", request(length(b"%d" % len(INNER)), b"Content-Encoding: gzip", body=INNER)),
    Case(
        "a body that was not asked for",
        request(length(b"%d" % len(INNER)), b"Expect: 100-continue", body=INNER, start=NOT_FOUND),
    ),
    Case("a body to the page", request(length(b"%d" % len(INNER)), body=INNER, start=b"POST / HTTP/1.1")),
    Case("a body to a redirect", request(length(b"%d" % len(INNER)), body=INNER, start=b"POST /v2/ HTTP/1.1")),
    Case(
        "a body that says it ends the connection", request(length(b"%d" % len(INNER)), b"Connection: close", body=INNER)
    ),
    Case("a body over HTTP/1.0", request(length(b"%d" % len(INNER)), body=INNER, start=b"POST / HTTP/1.0")),
]
"""Bodies that nobody wants and that would be requests: skipped, or the connection ends."""


@pytest.mark.parametrize("case", SKIPPED, ids=str)
def test_a_body_that_nobody_wants_is_not_the_next_request(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert len(outcome.answers) == 1, outcome
        assert outcome.answers[0].id != SMUGGLED, outcome
        assert outcome.closed or outcome.victim_answered, outcome


ALL = [*REFUSED, *EITHER, *ACCEPTED, *SKIPPED]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_through_nginx_each_user_gets_their_own_answer(proxy: int, case: Case) -> None:
    for number in range(2):
        with Wire(proxy, seconds=5) as attacker:
            attacker.send(case.content)
            first = _answer_or_none(attacker)
            for victim in (f"{VICTIM}-{number}-a", f"{VICTIM}-{number}-b"):
                with Wire(proxy) as other:
                    other.send(infer(victim))
                    answer = other.answer()
                    assert (answer.status, answer.id) == (200, victim), (answer, first)


def _answer_or_none(wire: Wire) -> Answer | None:
    try:
        return wire.answer()
    except (NoAnswer, Silence):
        return None
