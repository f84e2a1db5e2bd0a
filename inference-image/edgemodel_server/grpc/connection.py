"""HTTP/2 (RFC 9113), the server's side, for unary calls above all; bounded in all that a client can ask for."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from edgemodel_server.access.keys import Bucket
from edgemodel_server.grpc.frames import (
    ACK,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    LARGEST_STREAM,
    LARGEST_WINDOW,
    PADDED,
    Code,
    ConnectionFaultError,
    Kind,
    Setting,
    StreamFaultError,
    frame,
    go_away,
    read_number,
    read_settings,
    reset,
    settings,
    unpadded,
    window_update,
)
from edgemodel_server.grpc.headers import LIST_BYTES, HeaderReader, Headers
from edgemodel_server.grpc.reading import FRAME_BYTES, FrameReader
from edgemodel_server.grpc.stream import Stream

MAX_CONCURRENT_STREAMS = 256
"""Calls at a time in one connection: what a client sends beyond it waits at the client."""
STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 8 * 1024 * 1024
"""What a client may send before it is told that it was received."""
NUISANCES = 500.0
"""Frames in a second that cost the server work and bring a call no further: resets, pings, settings, empty frames."""
MOST_EARNED = 1000
"""Each piece of an answer earns two such frames more: some clients measure their connection with a ping for each."""
SMALL_BYTES = 256
CHECK_SECONDS = 5.0
START_SECONDS = 20.0
"""Time that a client has for its first frame, and for the rest of a header block."""
STALLED_SECONDS = 60.0
"""A client that takes nothing of an answer for so long gets none."""
CLOSING_SECONDS = 5.0
ROUND_TRIP_SECONDS = 1.0
"""A client that has not answered a ping after so long is told the end all the same."""

Accept = Callable[["Connection", Stream, Headers], None]
Notice = Callable[["Connection"], None]


class Connection(asyncio.Protocol):
    """One client's connection. ``accept`` gives a new stream its receiver; ``timeout`` is for what it sends."""

    def __init__(self, accept: Accept, timeout: float, opened: Notice, lost: Notice) -> None:
        """Not connected; ``opened`` and ``lost`` are told when it is, and is no more."""
        self._accept, self._timeout, self._opened, self._lost = accept, timeout, opened, lost
        self._loop = asyncio.get_running_loop()
        self._headers = HeaderReader()
        self._nuisances = Bucket(NUISANCES)
        self._earned = 0
        self._streams: dict[int, Stream] = {}
        self._reader = FrameReader()
        self._last = 0
        """The highest stream that the client has opened."""
        self._window = self._stream_window = DEFAULT_WINDOW
        self._largest = DEFAULT_FRAME_BYTES
        self._credit = CONNECTION_WINDOW
        self._out: list[bytes] = []
        self._reading = self._draining = False
        self._paused_since: float | None = None
        self._closing_since: float | None = None
        self._last_served: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say how this side wants it."""
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self._since = time.monotonic()
        self._opened(self)
        self._timer = self._loop.call_later(CHECK_SECONDS, self._check)
        wanted = {
            Setting.MAX_CONCURRENT_STREAMS: MAX_CONCURRENT_STREAMS,
            Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
            Setting.MAX_HEADER_LIST_SIZE: LIST_BYTES,
        }
        self.transport.write(settings(wanted) + window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody waits for any answer."""
        self._lost(self)
        if self._timer is not None:
            self._timer.cancel()
        self._closing_since = self._closing_since or time.monotonic()
        self._give_up()

    def pause_writing(self) -> None:
        """The client does not read: nor does the server, so that what it would answer is bounded."""
        self._paused_since = time.monotonic()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused_since = None
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._pump_all()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole, and answer them together."""
        if self._closing_since is not None:
            return
        self._reading = True
        try:
            for found in self._reader.read(data):
                self._on_frame(*found)
                if self._closing_since is not None:
                    break
        except ConnectionFaultError as fault:
            self._end(fault.code, str(fault))
        finally:
            self._reading = False
            self._flush()

    # What receivers call.

    def respond(self, stream: Stream, head: bytes, content: bytes, tail: bytes | None) -> None:
        """Send the header block ``head`` if there is one, ``content``, and the block ``tail``, which ends the stream
        if it is not None. Does nothing for a stream that is over."""
        if stream.identifier not in self._streams:
            return
        if head:
            self._out.append(frame(Kind.HEADERS, END_HEADERS, stream.identifier, head))
        if not stream.waits:
            stream.since = time.monotonic()
        stream.queue(content, tail)
        self._pump(stream)
        if not self._reading:
            self._flush()

    def refuse(self, stream: Stream, block: bytes) -> None:
        """Answer with the header block alone."""
        if stream.identifier in self._streams:
            self._out.append(frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream.identifier, block))
            self._close(stream)
            if not self._reading:
                self._flush()

    # The server's end.

    def drain(self) -> None:
        """Take no calls that the client has not sent yet; close when those it has are answered."""
        if self._draining or self._closing_since is not None:
            return
        self._draining = True
        # What the client sends before it has read this is served: its answer to the ping shows that it has.
        self.transport.write(go_away(LARGEST_STREAM, Code.NO_ERROR) + frame(Kind.PING, 0, 0, bytes(8)))
        self._loop.call_later(ROUND_TRIP_SECONDS if self._reader.begun else 0, self._last_call)

    def abort(self) -> None:
        """Give up all calls, and close."""
        self._end(Code.NO_ERROR, "the server ends")
        self._flush()

    # Frames.

    def _on_frame(self, kind: int, flags: int, identifier: int, content: bytes) -> None:
        try:
            if kind == Kind.DATA:
                self._on_data(flags, identifier, content)
            elif kind == Kind.HEADERS:
                self._on_headers(identifier, content, ended=bool(flags & END_STREAM))
            elif kind == Kind.WINDOW_UPDATE:
                self._on_window_update(identifier, read_number(content, Kind.WINDOW_UPDATE))
            else:
                self._on_control(kind, flags, identifier, content)
        except StreamFaultError as fault:
            self._reset(identifier, fault.code)

    def _on_data(self, flags: int, identifier: int, content: bytes) -> None:
        if identifier == 0 or identifier > self._last:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"DATA for stream {identifier}, which is not open")
        size = len(content)
        self._credit -= size
        # What comes is taken at once, so a client that sends more than it was told it may does no harm.
        if self._credit < CONNECTION_WINDOW // 2:
            self._out.append(window_update(0, CONNECTION_WINDOW - self._credit))
            self._credit = CONNECTION_WINDOW
        stream = self._streams.get(identifier)
        if stream is None:  # it is over, and the client may not know yet
            if size < SMALL_BYTES:
                self._count()
            return
        if stream.half_closed:
            raise StreamFaultError(Code.STREAM_CLOSED)
        stream.credit -= size
        ended = bool(flags & END_STREAM)
        if flags & PADDED:
            content = unpadded(content, flags)
        if not ended:
            if not content:
                self._count()
            if stream.credit < STREAM_WINDOW // 2:
                self._out.append(window_update(identifier, STREAM_WINDOW - stream.credit))
                stream.credit = STREAM_WINDOW
        stream.half_closed = ended
        stream.receiver.data(content, ended=ended)

    def _on_headers(self, identifier: int, block: bytes, *, ended: bool) -> None:
        if not identifier % 2:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"HEADERS for stream {identifier}")
        if identifier <= self._last:
            self._on_trailers(identifier, block, ended=ended)
            return
        self._last = identifier
        headers = self._headers.read(block)
        if len(self._streams) >= MAX_CONCURRENT_STREAMS or self._last_served is not None:
            self._count()
            raise StreamFaultError(Code.REFUSED_STREAM)
        stream = Stream(identifier, self._stream_window, STREAM_WINDOW, time.monotonic())
        self._streams[identifier] = stream
        stream.half_closed = ended
        self._accept(self, stream, headers)
        if ended:
            stream.receiver.data(b"", ended=True)

    def _on_trailers(self, identifier: int, block: bytes, *, ended: bool) -> None:
        self._headers.read(block, trailers=True)
        stream = self._streams.get(identifier)
        if stream is None:
            self._count()
            return
        if stream.half_closed or not ended:
            raise StreamFaultError(Code.STREAM_CLOSED if stream.half_closed else Code.PROTOCOL_ERROR)
        stream.half_closed = True
        stream.receiver.data(b"", ended=True)

    def _on_window_update(self, identifier: int, size: int) -> None:
        if identifier == 0:
            self._window += size
            if not size or self._window > LARGEST_WINDOW:
                raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, f"WINDOW_UPDATE by {size}")
            self._pump_all()
            return
        if identifier > self._last:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"WINDOW_UPDATE of stream {identifier}, which is not open")
        if (stream := self._streams.get(identifier)) is None:
            return
        stream.window += size
        if not size or stream.window > LARGEST_WINDOW:
            raise StreamFaultError(Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR)
        if stream.waits:
            self._pump(stream)

    def _on_control(self, kind: int, flags: int, identifier: int, content: bytes) -> None:
        self._count()
        if kind == Kind.RST_STREAM:
            read_number(content, Kind.RST_STREAM)
            if identifier == 0 or identifier > self._last:
                raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"RST_STREAM of stream {identifier}")
            self._forget(identifier)
        elif kind == Kind.SETTINGS:
            self._on_settings(flags, identifier, content)
        elif kind == Kind.PING:
            if len(content) != 8 or identifier:
                raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "PING has 8 bytes and no stream")
            if not flags & ACK:
                self._out.append(frame(Kind.PING, ACK, 0, content))
            elif self._draining:
                self._last_call()
        elif kind == Kind.PRIORITY:
            if len(content) != 5:
                raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, f"PRIORITY has {len(content)} bytes, not 5")
        elif kind == Kind.PUSH_PROMISE:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "a client promises nothing")

    def _on_settings(self, flags: int, identifier: int, content: bytes) -> None:
        if identifier or (flags & ACK and content):
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, "SETTINGS of a stream, or with its acknowledgement")
        if flags & ACK:
            return
        for name, value in read_settings(content):
            if name == Setting.MAX_FRAME_SIZE:
                self._largest = min(value, FRAME_BYTES)
            elif name == Setting.INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._stream_window
                    if stream.window > LARGEST_WINDOW:
                        raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, "a window is too large")
                self._stream_window = value
        self._out.append(frame(Kind.SETTINGS, ACK, 0))
        self._pump_all()

    # Streams.

    def _pump(self, stream: Stream) -> None:
        if self._paused_since is not None and stream.waits:
            return
        taken = stream.pump(self._window, self._largest, self._out.append)
        self._window -= taken
        if taken:
            stream.since = time.monotonic()
            self._earned = min(self._earned + 2, MOST_EARNED)
        if not stream.waits:
            stream.wake()
        if stream.is_sent:
            self._close(stream)

    def _pump_all(self) -> None:
        for stream in [stream for stream in self._streams.values() if stream.waits]:
            self._pump(stream)
        if not self._reading:
            self._flush()

    def _close(self, stream: Stream) -> None:
        """This side has sent all."""
        del self._streams[stream.identifier]
        if not stream.half_closed:
            self._out.append(reset(stream.identifier, Code.NO_ERROR))
        self._end_if_idle()

    def _reset(self, identifier: int, code: Code) -> None:
        self._out.append(reset(identifier, code))
        self._forget(identifier)

    def _forget(self, identifier: int) -> None:
        stream = self._streams.pop(identifier, None)
        if stream is not None:
            stream.receiver.gone()
        self._end_if_idle()

    def _give_up(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.receiver.gone()

    # The end.

    def _last_call(self) -> None:
        if self._last_served is None and self._closing_since is None:
            self._last_served = self._last
            self._out.append(go_away(self._last, Code.NO_ERROR))
            self._end_if_idle()
            if not self._reading:
                self._flush()

    def _end_if_idle(self) -> None:
        if self._last_served is not None and not self._streams and self._closing_since is None:
            self._closing_since = time.monotonic()

    def _end(self, code: Code, sentence: str) -> None:
        if self._closing_since is None:
            self._out.append(go_away(self._last, code, sentence))
            self._closing_since = time.monotonic()
        self._give_up()

    def _flush(self) -> None:
        if self._out and not self.transport.is_closing():
            self.transport.write(b"".join(self._out))
        self._out.clear()
        if self._closing_since is not None and not self.transport.is_closing():
            self.transport.close()

    def _count(self) -> None:
        if self._earned:
            self._earned -= 1
        elif self._nuisances.take(time.monotonic()):
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, "too many frames that bring no call further")

    def _check(self) -> None:
        """Now and then: end what does not get on."""
        now = time.monotonic()
        self._timer = self._loop.call_later(CHECK_SECONDS, self._check)
        late = not self._reader.begun and now - self._since > START_SECONDS
        late |= self._reader.block_since is not None and now - self._reader.block_since > START_SECONDS
        late |= self._paused_since is not None and now - self._paused_since > STALLED_SECONDS
        late |= self._closing_since is not None and now - self._closing_since > CLOSING_SECONDS
        if late:
            self.transport.abort()
            return
        for stream in list(self._streams.values()):
            if stream.waits and now - stream.since > STALLED_SECONDS:
                self._reset(stream.identifier, Code.CANCEL)
            elif not stream.half_closed and now - stream.since > self._timeout:
                stream.receiver.slow()
        self._flush()
