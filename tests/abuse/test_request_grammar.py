"""Heads of requests that RFC 9112 forbids are refused in the server's error form, and end the connection."""

import pytest

from tests.abuse.outcomes import Case, exchange
from tests.abuse.wire import INFER, Wire, get, infer, infer_body

pytestmark = pytest.mark.usefixtures("attack")

HOST = b"Host: server\r\n"


def line(text: bytes) -> bytes:
    """A request with ``text`` as its first line."""
    return text + b"\r\n" + HOST + b"\r\n"


def field(text: bytes) -> bytes:
    """A request with ``text`` as one of its header lines."""
    return b"GET /v2 HTTP/1.1\r\n" + HOST + text + b"\r\n\r\n"


def body_of(*fields: bytes, body: bytes = infer_body("odd")) -> bytes:
    """An inference with ``fields`` as further header lines."""
    head = [b"POST " + INFER.encode() + b" HTTP/1.1", b"Host: server", b"Content-Type: application/json", *fields]
    return b"\r\n".join([*head, b"", b""]) + body


LENGTH = len(infer_body("odd"))

REFUSED = [
    Case("no Host", b"GET /v2 HTTP/1.1\r\n\r\n"),
    Case("no Host but other headers", b"GET /v2 HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    Case("no Host in a POST", infer("odd").replace(b"Host: server\r\n", b"")),
    Case("two Hosts", field(b"Host: other")),
    Case("the same Host twice", field(b"Host: server")),
    Case("two Hosts in different case", field(b"hOST: other")),
    Case("Host with a space", b"GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n"),
    Case("Host with a slash", b"GET /v2 HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    Case("Host with a comma", b"GET /v2 HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    Case("Host with user information", b"GET /v2 HTTP/1.1\r\nHost: user@server\r\n\r\n"),
    Case("Host with a port that is no number", b"GET /v2 HTTP/1.1\r\nHost: server:http\r\n\r\n"),
    Case("no version", line(b"GET /v2")),
    Case("no version and a space", line(b"GET /v2 ")),
    Case("HTTP/2.0", line(b"GET /v2 HTTP/2.0")),
    Case("HTTP/3.0", line(b"GET /v2 HTTP/3.0")),
    Case("HTTP/9.9", line(b"GET /v2 HTTP/9.9")),
    Case("HTTP/0.9", line(b"GET /v2 HTTP/0.9")),
    Case("HTTP/2", line(b"GET /v2 HTTP/2")),
    Case("HTTP/1.10", line(b"GET /v2 HTTP/1.10")),
    Case("HTTP/01.1", line(b"GET /v2 HTTP/01.1")),
    Case("HTTP/1,1", line(b"GET /v2 HTTP/1,1")),
    Case("http/1.1", line(b"GET /v2 http/1.1")),
    Case("another protocol", line(b"GET /v2 RTSP/1.0")),
    Case("ICE", line(b"GET /v2 ICE/1.0")),
    Case("something after the version", line(b"GET /v2 HTTP/1.1 more")),
    Case("two spaces before the target", line(b"GET  /v2 HTTP/1.1")),
    Case("two spaces before the version", line(b"GET /v2  HTTP/1.1")),
    Case("a tab for a space", line(b"GET\t/v2\tHTTP/1.1")),
    Case("a space before the method", line(b" GET /v2 HTTP/1.1")),
    Case("a space in the target", line(b"GET /v2 /models HTTP/1.1")),
    Case("a null in the target", line(b"GET /v2\x00 HTTP/1.1")),
    Case("a control character in the target", line(b"GET /v2\x01 HTTP/1.1")),
    Case("a delete character in the target", line(b"GET /v2\x7f HTTP/1.1")),
    Case("a carriage return in the target", line(b"GET /v2\rX: y HTTP/1.1")),
    Case("a method with a bracket", line(b"G(T /v2 HTTP/1.1")),
    Case("a method with a colon", line(b"GET: /v2 HTTP/1.1")),
    Case("only a method", line(b"GET")),
    Case("an empty target", line(b"GET  HTTP/1.1")),
    Case("a target without a slash", line(b"GET v2 HTTP/1.1")),
    Case("CONNECT", line(b"CONNECT server:80 HTTP/1.1")),
    Case("a space before the colon", field(b"Accept : */*")),
    Case("a tab before the colon", field(b"Accept\t: */*")),
    Case("no colon", field(b"Accept")),
    Case("no name", field(b": value")),
    Case("a space in the name", field(b"Acc ept: */*")),
    Case("a bracket in the name", field(b"Acc(ept: */*")),
    Case("a control character in the name", field(b"Acc\x01ept: */*")),
    Case("a null in the name", field(b"Acc\x00ept: */*")),
    Case("a byte above ASCII in the name", field(b"Acc\xe9pt: */*")),
    Case("a null in the value", field(b"Accept: a\x00b")),
    Case("a carriage return in the value", field(b"Accept: a\rX-API-Key: b")),
    Case("a control character in the value", field(b"Accept: a\x01b")),
    Case("a space before the first header", b"GET /v2 HTTP/1.1\r\n " + HOST + b"\r\n"),
    Case("a tab before the first header", b"GET /v2 HTTP/1.1\r\n\t" + HOST + b"\r\n"),
    Case("a continued line", field(b"Accept: a\r\n b")),
    Case("a continued Content-Length", body_of(b"Content-Length: 1\r\n " + str(LENGTH).encode())),
    Case("a continued Transfer-Encoding", body_of(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n")),
    Case("a space before Content-Length's colon", body_of(b"Content-Length : %d" % LENGTH)),
    Case("an end of the head without its line feed", b"GET /v2 HTTP/1.1\r\n" + HOST + b"\rX: y\r\n\r\n"),
    Case("a carriage return and a header in a value", field(b"X-Abc: \rxTransfer-Encoding: chunked")),
    Case("a bare line feed and a header in a value", field(b"X-Abc: a\nTransfer-Encoding: chunked")),
    Case("a vertical tab before the colon", field(b"Transfer-Encoding\x0b: chunked")),
    Case("a space before Host's colon", b"GET /v2 HTTP/1.1\r\nHost : server\r\n\r\n"),
    Case("lines that end with CR only", b"GET /v2 HTTP/1.1\rHost: server\r\r"[:-1] + b"\r\n\r\n"),
]
"""What a server must refuse, or had better: others in front of it may read it differently."""


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_malformed_is_refused_twice_and_ends_the_connection(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert len(outcome.answers) == 1, outcome
        assert outcome.statuses[0] in (400, 405, 431, 501, 505), outcome
        assert outcome.answers[0].error, outcome
        assert outcome.closed, outcome


REFUSED_BUT_KEPT = [
    Case("an unknown method", line(b"BREW /v2 HTTP/1.1")),
    Case("a method in lower case", line(b"get /v2 HTTP/1.1")),
    Case("a very long method", line(b"G" * 2000 + b" /v2 HTTP/1.1")),
    Case("an asterisk to GET", line(b"GET * HTTP/1.1")),
    Case("CONNECT with a path", line(b"CONNECT /v2 HTTP/1.1")),
    Case("TRACE", line(b"TRACE /v2 HTTP/1.1")),
    Case("a path with dots", line(b"GET /../../etc/passwd HTTP/1.1")),
    Case("a path with encoded dots", line(b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1")),
    Case("a path with a broken escape", line(b"GET /v2/%zz HTTP/1.1")),
    Case("a path with an encoded null", line(b"GET /v2/%00 HTTP/1.1")),
    Case("a path that is not UTF-8", line(b"GET /v2/%ff%fe HTTP/1.1")),
    Case("a path with bytes above ASCII", line(b"GET /v2/\xc3\xa9 HTTP/1.1")),
    Case("a path with encoded line breaks", line(b"GET /v2/%0d%0aX-Injected:%201 HTTP/1.1")),
]
"""Requests that say something that this server does not do: refused as such, and the connection may go on."""


@pytest.mark.parametrize("case", REFUSED_BUT_KEPT, ids=str)
def test_what_the_server_does_not_do_is_a_4xx_or_501_and_nothing_else(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert len(outcome.answers) == 1, outcome
        assert outcome.statuses[0] in (400, 404, 405, 414, 417, 501), outcome
        assert outcome.answers[0].error, outcome
        assert "x-injected" not in outcome.answers[0].headers
        assert outcome.closed or outcome.victim_answered, outcome


ACCEPTED = [
    Case("an empty Host", b"GET /v2 HTTP/1.1\r\nHost:\r\n\r\n"),
    Case("an IPv6 Host", b"GET /v2 HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
    Case("a Host with a port", b"GET /v2 HTTP/1.1\r\nHost: server:8080\r\n\r\n"),
    Case("HTTP/1.0 without Host", b"GET /v2 HTTP/1.0\r\n\r\n"),
    Case("the absolute form", b"GET http://server/v2 HTTP/1.1\r\nHost: server\r\n\r\n"),
    Case("the absolute form of another host", b"GET http://other/v2 HTTP/1.1\r\nHost: server\r\n\r\n"),
    Case("Host named hop by hop", field(b"Connection: host, x-api-key")),
    Case("a thousand ranges", field(b"Range: bytes=" + b",".join(b"%d-" % at for at in range(1000)))),
    Case("a range of the page that is not there", line(b"GET /v2 HTTP/1.1\r\nRange: bytes=99999999-")),
    Case("no space after the colon", field(b"Accept:*/*")),
    Case("spaces and tabs around a value", field(b"Accept: \t */* \t ")),
    Case("an empty value", field(b"X-Empty:")),
    Case("a value above ASCII", field(b"X-Name: Andr\xe9")),
    Case("an odd but allowed name", field(b"!#$%&'*+-.^_`|~: x")),
    Case("a hundred headers", field(b"\r\n".join(b"X-%d: y" % number for number in range(90)))),
    Case("a header of four thousand bytes", field(b"Cookie: " + b"c" * 4000)),
    Case("an empty line in front", b"\r\n" + get("/v2")),
    Case("a query of odd characters", line(b"GET /v2?a=b&c[]=d|e HTTP/1.1")),
    Case("an expectation that nobody knows", field(b"Expect: the-unexpected")),
    Case("an upgrade that is not acted upon", field(b"Connection: Upgrade\r\nUpgrade: websocket")),
]
"""What real clients send, too."""


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_what_is_well_formed_is_answered(target_port: int, case: Case) -> None:
    for _ in range(2):
        outcome = exchange(target_port, case.content)
        assert outcome.statuses == [200], outcome
        assert outcome.closed == case.content.startswith(b"GET /v2 HTTP/1.0"), outcome


LARGE = [
    Case("a target of a mebibyte", line(b"GET /v2?" + b"a" * 2**20 + b" HTTP/1.1")),
    Case("a header value of a mebibyte", field(b"X-Large: " + b"a" * 2**20)),
    Case("a header name of a mebibyte", field(b"X" * 2**20 + b": a")),
    Case("a hundred thousand headers", field(b"\r\n".join(b"x: y" for _ in range(100_000)))),
    Case("a hundred thousand empty headers", field(b"\r\n".join(b"x%d:" % number for number in range(100_000)))),
    Case("a mebibyte of empty lines", b"\r\n" * 2**19 + b"nonsense\r\n\r\n"),
    Case("a mebibyte without a line", b"a" * 2**20),
    Case("a method of a mebibyte", line(b"G" * 2**20 + b" /v2 HTTP/1.1")),
    Case("a mebibyte of spaces before a value", field(b"X-Large: " + b" " * 2**20 + b"a")),
]


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_a_head_without_measure_is_refused(target_port: int, case: Case) -> None:
    for _ in range(2):
        # The answer may be lost, for the connection is reset when it ends with bytes that nobody read.
        outcome = exchange(target_port, case.content)
        assert outcome.closed, outcome
        assert len(outcome.answers) <= 1, outcome
        for answer in outcome.answers:
            assert answer.status in (400, 413, 414, 431), outcome
            assert answer.error, outcome


def test_a_head_that_comes_byte_by_byte_is_read(target_port: int) -> None:
    with Wire(target_port) as wire:
        for byte in get("/v2"):
            wire.send(bytes((byte,)))
        assert wire.answer().status == 200
