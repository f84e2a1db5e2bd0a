"""A request as it was read from a connection, and the bytes of an answer (RFC 9112)."""

import http
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools

Header = tuple[bytes, bytes]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Header = (b"connection", b"close")
WITHOUT_BODY = frozenset({204, 304})


@dataclass(slots=True)
class Request:
    """A request line and headers, whose names are in lower case.

    ``keep_alive``: the client has nothing against a further request on the connection. ``length`` is that of the body;
    None: it comes in chunks, which say when it ends.
    """

    method: bytes
    path: str
    query: bytes
    raw_path: bytes
    headers: list[Header]
    version: str
    keep_alive: bool

    @property
    def length(self) -> int | None:
        """As above; the parser has seen to it that there is one of the two, and that it is well formed."""
        length = 0
        for name, value in self.headers:
            if name == b"transfer-encoding":
                return None
            if name == b"content-length":
                length = int(value)
        return length

    @property
    def expects_continue(self) -> bool:
        """Whether the client sends the body only when it is told to."""
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)


def target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, raw path and query of a request's target.

    Raises:
        ValueError: it is none that this server knows, such as the one of CONNECT.
    """
    if url.startswith(b"/"):
        raw, _, query = url.partition(b"?")
    else:
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError as error:
            raise ValueError("the request's target is not a path") from error
        raw, query = parsed.path or b"/", parsed.query or b""
    path = raw.decode("latin-1")
    return (unquote(path) if "%" in path else path), raw, query


def head(status: int, headers: Sequence[Header], date: bytes, *, close: bool) -> bytes:
    """Status line and headers of an answer, up to the empty line. ``close``: no further request is read.

    Raises:
        ValueError: a header has a line break, which would begin another one.
    """
    lines = [STATUS_LINES[status], b"date: ", date, b"\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if close:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    content = b"".join(lines)
    if content.count(b"\n") != len(headers) + 3 + close:
        raise ValueError("a header of the answer has a line break")
    return content


def refusal(status: bytes, sentence: str) -> bytes:
    """The answer to what is no request; the connection ends with it."""
    body = b'{"error":"%s"}' % sentence.encode("ascii", "replace").replace(b'"', b"'").replace(b"\\", b"/")
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


def address_of(name: Any) -> tuple[str, int] | None:
    """Host and port of a socket's name; None where it is no internet socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, list | tuple) and len(name) >= 2 else None
