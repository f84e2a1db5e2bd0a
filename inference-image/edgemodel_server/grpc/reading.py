"""Bytes of one HTTP/2 connection to its frames: in order, whole, and header blocks put together."""

import time
from collections.abc import Iterator
from typing import NamedTuple

from edgemodel_server.grpc.frames import (
    ACK,
    END_HEADERS,
    HEADER,
    LARGEST_STREAM,
    PREFACE,
    PRIORITIZED,
    Code,
    ConnectionFaultError,
    Kind,
    unpadded,
)

FRAME_BYTES = 64 * 1024
BLOCK_BYTES = 32 * 1024
MOST_CONTINUATIONS = 64
"""Of the frames of one header block."""


class Frame(NamedTuple):
    """What came. HEADERS has its whole block, without padding and priority."""

    kind: int
    flags: int
    stream: int
    content: bytes


class FrameReader:
    """What a client sends, as it comes."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.begun = False
        """Whether the first frame has come, which is SETTINGS."""
        self.block_since: float | None = None
        """When a header block began that is not complete, by ``time.monotonic``."""
        self._rest = b""
        self._has_preface = False
        self._block = Frame(Kind.HEADERS, END_HEADERS, 0, b"")
        self._continuations = 0

    def read(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete with ``data``.

        Raises:
            ConnectionFaultError: what came is no HTTP/2, or too much of it.
        """
        if self._rest:
            data = self._rest + data
        start, size = 0, len(data)
        if not self._has_preface:
            if data[: len(PREFACE)] != PREFACE[:size]:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, "this is not HTTP/2")
            if size < len(PREFACE):
                self._rest = data
                return
            self._has_preface, start = True, len(PREFACE)
        while size - start >= HEADER.size:
            high, low, kind, flags, stream = HEADER.unpack_from(data, start)
            length = high << 16 | low
            if length > FRAME_BYTES:
                raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, f"a frame has {length} bytes; {FRAME_BYTES} is most")
            end = start + HEADER.size + length
            if end > size:
                break
            frame = Frame(kind, flags, stream & LARGEST_STREAM, data[start + HEADER.size : end])
            start = end
            if self.block_since is not None:
                if self._continues(frame):
                    yield self._block
            elif kind == Kind.DATA and self.begun:
                yield frame
            elif self._is_whole(frame):
                yield self._block if kind == Kind.HEADERS else frame
        self._rest = data[start:] if start else data

    def _is_whole(self, frame: Frame) -> bool:
        kind, flags, stream, content = frame
        if not self.begun:
            if kind != Kind.SETTINGS or flags & ACK:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self.begun = True
        if kind == Kind.CONTINUATION:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        if kind != Kind.HEADERS:
            return True
        content = unpadded(content, flags)
        if flags & PRIORITIZED:
            if len(content) < 5:
                raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "HEADERS has no room for its priority")
            content = content[5:]
        self._block = Frame(kind, flags, stream, content)
        if flags & END_HEADERS:
            return True
        self.block_since, self._continuations = time.monotonic(), 0
        return False

    def _continues(self, frame: Frame) -> bool:
        """Whether the block is complete with ``frame``."""
        begun = self._block
        if frame.kind != Kind.CONTINUATION or frame.stream != begun.stream:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a header block is interrupted")
        self._continuations += 1
        if self._continuations > MOST_CONTINUATIONS or len(begun.content) + len(frame.content) > BLOCK_BYTES:
            sentence = f"a header block has more than {MOST_CONTINUATIONS} frames or {BLOCK_BYTES} bytes"
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, sentence)
        self._block = begun._replace(content=begun.content + frame.content)
        if not frame.flags & END_HEADERS:
            return False
        self.block_since = None
        return True
