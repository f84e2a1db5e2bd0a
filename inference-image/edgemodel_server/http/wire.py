"""A request as it was read from a connection, and the bytes of an answer (RFC 9112)."""

import asyncio
import http
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Header = tuple[bytes, bytes]

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Header = (b"connection", b"close")
WITHOUT_BODY = frozenset({204, 304})
_TCP_CLOSED = 7
"""TCP_CLOSE of Linux's ``tcp_states.h``."""


class ProtocolError(Exception):
    """Bytes that are no request as this server reads them. The message goes to the client, and the connection ends."""

    def __init__(self, status: int, sentence: str) -> None:
        """``status`` is that of the answer."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request line and headers, whose names are in lower case.

    ``keep_alive``: the client has nothing against a further request on the connection. ``length`` is that of the body;
    None: it comes in chunks, which say when it ends.
    """

    method: bytes
    path: str
    query: bytes
    raw_path: bytes
    headers: tuple[Header, ...]
    version: str
    keep_alive: bool
    length: int | None
    expects_continue: bool
    """The client sends the body only when it is told to."""
    fields: Mapping[bytes, bytes]
    """The headers by name; of those that come more than once, the last."""


def head(status: int, headers: Sequence[Header], date: bytes, connection: bytes) -> bytes:
    """Status line and headers of an answer, up to the empty line. ``connection`` is the value of that header; empty:
    without it.

    Raises:
        ValueError: a header has a line break, which would begin another one.
    """
    lines = [STATUS_LINES[status], b"date: ", date, b"\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if connection:
        lines += (b"connection: ", connection, b"\r\n")
    lines.append(b"\r\n")
    content = b"".join(lines)
    if content.count(b"\n") != len(headers) + 3 + bool(connection):
        raise ValueError("a header of the answer has a line break")
    return content


def refusal(error: ProtocolError) -> bytes:
    """The answer to what is no request; the connection ends with it."""
    sentence = str(error).encode("ascii", "replace").replace(b"\\", b"/").replace(b'"', b"'")
    body = b'{"error":"%s"}' % sentence
    return b"%scontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        STATUS_LINES[error.status],
        len(body),
        body,
    )


def address_of(name: Any) -> tuple[str, int] | None:
    """Host and port of a socket's name; None where it is no internet socket."""
    return (str(name[0]), int(name[1])) if isinstance(name, list | tuple) and len(name) >= 2 else None


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the client's kernel has said that there is no such connection any more."""
    peer = transport.get_extra_info("socket")
    if peer is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return bool(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSED)
    except OSError:
        return True
