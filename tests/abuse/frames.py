"""HTTP/2 frame by frame (RFC 9113), as a client that may break the rules."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

import hpack

from tests.abuse.messages import MODEL_INFER, infer_message
from tests.abuse.sockets import connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED = 1, 4, 8, 32
ACK = 1
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": MODEL_INFER,
    ":authority": "server",
    "content-type": "application/grpc",
    "te": "trailers",
}


class Frame(NamedTuple):
    """As it came."""

    kind: int
    flags: int
    stream: int
    content: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    """A frame, which may be none."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def settings(*pairs: tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def message(content: bytes, flag: int = 0) -> bytes:
    """A message of gRPC."""
    return struct.pack(">BI", flag, len(content)) + content


def block(fields: dict[str, str] | None = None) -> bytes:
    """A block of header fields that needs no table: those of a call, and ``fields``."""
    return block_of(list({**FIELDS, **(fields or {})}.items()))


def block_of(fields: Sequence[tuple[str, str]]) -> bytes:
    """A block of exactly ``fields``, in their order."""
    encoder = hpack.Encoder()
    never = [hpack.NeverIndexedHeaderTuple(name.encode(), value.encode()) for name, value in fields]
    content: bytes = encoder.encode(never)
    return content


class Http2:
    """A connection; ``initial`` are the client's settings."""

    def __init__(self, port: int, *initial: tuple[int, int], preface: bytes = PREFACE, seconds: float = 20.0) -> None:
        """Connected, with preface and settings sent."""
        self.socket = connect(port, seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""
        self._decoder = hpack.Decoder()
        self.send(preface + settings(*initial) if preface == PREFACE else preface)

    def send(self, content: bytes) -> bool:
        """Whether the server took it all."""
        try:
            self.socket.sendall(content)
        except OSError:
            return False
        return True

    def frame(self) -> Frame | None:
        """The next; None where the connection ended.

        Raises:
            TimeoutError: nothing came.
        """
        head = self._exactly(9)
        if head is None:
            return None
        content = self._exactly(int.from_bytes(head[:3], "big"))
        return None if content is None else Frame(head[3], head[4], int.from_bytes(head[5:], "big"), content)

    def outcome(self, stream: int) -> str:
        """What ``stream`` or the connection comes to: ``answered``, ``reset`` or ``closed``, and its code.

        Raises:
            TimeoutError: nothing came of it.
        """
        goaway = ""
        while (found := self.frame()) is not None:
            if found.kind == GOAWAY:
                code = int.from_bytes(found.content[4:8], "big")
                goaway = f" {code}"
                if code:
                    self.finish_sending()
            if found.kind == RST_STREAM and found.stream == stream:
                return f"reset {int.from_bytes(found.content, 'big')}"
            if found.kind == HEADERS:
                fields: dict[Any, Any] = dict(self._decoder.decode(found.content))
                if found.stream == stream and found.flags & END_STREAM:
                    return f"answered {fields.get('grpc-status', fields.get(':status'))}"
        return f"closed{goaway}"

    def call(self, stream: int, identifier: str = "call") -> bytes:
        """The frames of an inference, in the simplest form."""
        content = message(infer_message(identifier))
        return frame(HEADERS, END_HEADERS, stream, block()) + frame(DATA, END_STREAM, stream, content)

    def acknowledge(self) -> None:
        """The server's settings, without reading them."""
        self.send(frame(SETTINGS, ACK))

    def finish_sending(self) -> None:
        """Close the writing half."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it."""
        self.socket.close()

    def __enter__(self) -> Self:
        """The connection."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.close()

    def _exactly(self, size: int) -> bytes | None:
        while len(self._read) < size:
            try:
                content = self.socket.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not content:
                return None
            self._read += content
        found, self._read = self._read[:size], self._read[size:]
        return found
