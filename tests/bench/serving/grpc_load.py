"""The load program's other connection: gRPC's unary calls over HTTP/2 without encryption (RFC 9113), as frames.

A gRPC library as the client would take longer for a call than the servers measured. What a call needs is little: its
frames are prepared once, and an answer is a message and trailers. ``load.closed_loop`` drives it like HTTP/1.1.
"""

import asyncio
import struct
from collections.abc import Callable

from tests.bench.serving.load import LOST

METHOD = "/inference.GRPCInferenceService/ModelInfer"

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_BYTES = 9
_LARGEST_FRAME = 16384
_LARGEST_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65535
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4


class GrpcConnection(asyncio.Protocol):
    """One connection, one call at a time. The request given to ``send`` is a serialized message."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._stream = -1
        self._window = _FIRST_WINDOW
        self._waiting: bytes | None = None
        self._got_message = False
        self._answered: Callable[[int], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can take a call."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how this side wants it: no table of headers, no pushes, and no limit to what the server may send."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
        transport.write(
            _PREFACE
            + frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings))
            + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW))
        )

    def send(self, request: bytes, answered: Callable[[int], None]) -> None:
        """Call; ``answered`` is called once, with 200 if a message came back, or else with LOST."""
        self._answered = answered
        self._stream += 2
        self._got_message = False
        message = struct.pack(">BI", 0, len(request)) + request
        assert len(message) <= _LARGEST_FRAME
        self._waiting = message
        self._write(frame(_HEADERS, _END_HEADERS, self._stream, _HEADER_BLOCK))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        received = self._received
        received += data
        start = 0
        while len(received) >= start + _FRAME_BYTES:
            size = int.from_bytes(received[start : start + 3])
            end = start + _FRAME_BYTES + size
            if len(received) < end:
                break
            stream = int.from_bytes(received[start + 5 : start + 9]) & _LARGEST_WINDOW
            kind, flags = received[start + 3], received[start + 4]
            self._take(kind, flags, stream, bytes(received[start + _FRAME_BYTES : end]))
            start = end
        del received[:start]

    def connection_lost(self, _: Exception | None) -> None:
        """Whatever was asked is not answered any more."""
        self._transport = None
        self._finish(LOST)

    def close(self) -> None:
        """Ask nothing more."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == _DATA and stream == self._stream:
            self._got_message = self._got_message or bool(content)
        if kind in (_DATA, _HEADERS) and stream == self._stream and flags & _END_STREAM:
            # A unary call that fails has trailers alone.
            self._finish(200 if self._got_message else LOST)
        elif kind == _RESET and stream == self._stream:
            self._finish(LOST)
        elif kind == _SETTINGS and not flags & _ACK:
            self._write(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(frame(_PING, _ACK, 0, content))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(content) & _LARGEST_WINDOW
            self._flush()
        elif kind == _GO_AWAY:
            self.close()

    def _flush(self) -> None:
        """Send the message, as soon as the server has room for it."""
        message = self._waiting
        if message is not None and len(message) <= self._window:
            self._waiting = None
            self._window -= len(message)
            self._write(frame(_DATA, _END_STREAM, self._stream, message))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self, status: int) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status)


async def connect(port: int) -> GrpcConnection:
    """A connection to the server on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(GrpcConnection, "127.0.0.1", port)
    return connection


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(content).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + content


def _literal(index: int, name: bytes, value: bytes) -> bytes:
    """A header field that is not indexed (RFC 7541, 6.2.2), its name from the static table or written out."""
    start = bytes((index,)) if 0 < index < 15 else bytes((0x0F, index - 15)) if index else bytes((0, len(name))) + name
    return start + bytes((len(value),)) + value


_HEADER_BLOCK = (
    b"\x83\x86"  # :method POST, :scheme http
    + _literal(4, b":path", METHOD.encode())
    + _literal(1, b":authority", b"server")
    + _literal(31, b"content-type", b"application/grpc")
    + _literal(0, b"te", b"trailers")
)
