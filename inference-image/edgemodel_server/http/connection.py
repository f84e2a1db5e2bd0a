"""Connections: bytes to requests, answers to bytes, one request after the other and within bounds.

Most requests are small: such a one comes in one piece and is answered without a task of its own. Where an application
takes a large body into memory of its own, the bytes go from the socket right there.
"""

import asyncio
import logging
from typing import cast

from edgemodel_server.errors import RequestError
from edgemodel_server.http.answer_writer import AnswerWriter
from edgemodel_server.http.body_sink import BodySink
from edgemodel_server.http.connection_lease import ConnectionLease
from edgemodel_server.http.parsing import HEAD_END, ChunkedBody, check_begin, read_head
from edgemodel_server.http.shared import Shared
from edgemodel_server.http.stream import Stream
from edgemodel_server.http.wire import (
    CLOSE,
    CONTINUE,
    Header,
    ProtocolError,
    Request,
    address_of,
    head,
    is_reset,
    refusal,
)

logger = logging.getLogger(__name__)

HEADER_SECONDS = 20.0
"""Time that a client has for the request line and the headers, from the connection's start or their first bytes; and
for the rest of a body that nobody wants any more."""
KEEP_ALIVE_SECONDS = 75.0
"""Longer than the idle time after which common clients and proxies close, so that it is they who close first."""
BEHIND_BYTES = 4096
"""Read at a time of what a client sends behind a request that is not answered yet."""
FORGOTTEN_BYTES = 1024 * 1024
"""Read of what a client sends on that was refused, so that it may see why."""
NEVER = float("inf")


class Connection(asyncio.BufferedProtocol):
    """One connection: requests are read and answered one after the other."""

    def __init__(self, shared: Shared) -> None:
        """A connection that ``connection_made`` is still to be called for."""
        self.scheme = "http"
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.writer = AnswerWriter()
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._deadline = NEVER
        """When what the client owes is overdue, by the loop's time."""
        self._paused = False
        self._ends = False
        """No further request is read."""
        self._lingers = False
        """All is answered; what still comes is read and forgotten, up to ``_forgets`` bytes."""
        self._forgets = 0.0
        self._is_half_closed = False
        """The client sends nothing more; it may still read."""
        self._lease: ConnectionLease | None = None
        """None: the connection is not counted."""
        self._current: Stream | None = None
        """The request that is read or answered: until both its body and its answer are complete."""
        self._is_parsing = False
        self._unsent = 0
        """Bytes of an inline answer that the client has not taken."""
        self._unparsed = b""
        """The begin of a head, or what is behind the current request."""
        self._searched = 0
        """Bytes of it in which no head ends."""
        self._sink: BodySink | None = None
        """What is to come of the current body, where its length is known."""
        self._chunks: ChunkedBody | None = None
        """The current body, where it comes in chunks."""

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The time for the first headers begins."""
        self._transport = transport = cast(asyncio.Transport, transport)
        self.writer.attach(transport)
        self.client = address_of(transport.get_extra_info("peername"))
        self.server = address_of(transport.get_extra_info("sockname"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._deadline = self._loop.time() + HEADER_SECONDS
        self._shared.connections.add(self)
        if self._shared.budget is None:
            return
        lease = ConnectionLease(self._shared.budget, self.client)
        if lease.open():
            self._lease = lease
        else:
            self._ends = True
            transport.write(refusal(ProtocolError(503, "too many connections are open; close some, or try again")))
            transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is closed, by whichever side."""
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.emptied.set()
        self._transport = None
        self._unparsed = b""
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        stream, self._current = self._current, None
        if stream is not None:
            stream.disconnect()
        if self._sink is not None:
            self._sink.release()
        self.writer.detach()

    def eof_received(self) -> bool:
        """The client sends nothing more. It still gets the answers to what it has asked, if it is there at all."""
        self._is_half_closed = True
        stream = self._current
        if stream is None or stream.more or self._lingers or self.scheme == "https":
            return False
        if not stream.has_begun and stream.request.version != "1.0" and self._transport is not None:
            # One that has gone and one that only listens look the same until something is sent to them: the kernel of
            # the first takes it for a mistake and says so, the second passes it over (RFC 9110, 15.2).
            self._transport.write(CONTINUE)
        return True

    def pause_writing(self) -> None:
        """The client takes what it is sent more slowly than it is written."""
        size = self.writer.pause(self._loop.time())
        if self._current is None:
            # That of an inline answer: of any other, the application holds what is not sent yet.
            self._unsent = size
            self._hold()

    def resume_writing(self) -> None:
        """The client has taken all that was written."""
        self.writer.resume()
        self._unsent = 0
        self._hold()

    def get_buffer(self, _: int) -> memoryview:
        """The memory into which the next bytes are read."""
        view = self._shared.view
        if self._sink is not None and not self._lingers:
            return self._sink.place(view)
        behind = self._current is not None and self._chunks is None and not self._lingers
        return view[:BEHIND_BYTES] if behind else view

    def buffer_updated(self, count: int) -> None:
        """``count`` bytes are there: more of a request, or of several."""
        if self._lingers:
            self._forgets -= count
            if self._forgets < 0:
                self.abort()
            return
        if self._sink is not None:
            self._body_updated(self._sink, count)
        else:
            self._received(bytes(self._shared.view[:count]))
        self.regulate()

    # What streams call

    def head(self, request: Request, status: int, headers: list[Header]) -> bytes:
        """The beginning of an answer; it says whether the connection ends with it."""
        if CLOSE in headers or not request.keep_alive:
            self._ends = True
        connection = b"close" if self._ends else b"keep-alive" if request.version == "1.0" else b""
        return head(status, [each for each in headers if each != CLOSE], self._shared.date, connection)

    def answered(self, stream: Stream) -> None:
        """The answer of ``stream`` is written: go on with the next request, when the body of this one is complete."""
        if stream is not self._current:
            return
        if not stream.more:
            self._finished()
        elif self._ends:
            self._end()
        else:
            self._deadline = self._loop.time() + HEADER_SECONDS
        self.regulate()

    async def read_into(self, memory: memoryview) -> None:
        """Fill ``memory`` with what follows of the body, which has a length; or else the client has gone."""
        sink = self._sink
        if sink is None:
            return
        filled = sink.fill(memory)
        self.regulate()
        try:
            await filled
        finally:
            sink.forget()
            self.regulate()

    def regulate(self) -> None:
        """Read on, or not: what nobody has asked for yet stays with the client."""
        if self._transport is None or self._transport.is_closing():
            return
        stream = self._current
        pause = False
        if stream is not None and not self._lingers:
            if not stream.more:
                pause = bool(self._unparsed)
            elif not stream.is_over:
                pause = stream.has_body or (self._sink is not None and not self._sink.is_wanted)
        if pause is not self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection as it is."""
        self._ends = True
        if self._transport is not None:
            self._transport.abort()

    # What the server calls

    def finish(self) -> None:
        """No further request: end now, or after the answer that is under way."""
        self._ends = True
        if self._current is None or self._current.is_over:
            self._end()

    def expire(self, now: float) -> None:
        """End the connection if the client owes something for too long; while it waits for an answer itself, it may."""
        if self._transport is None:
            return
        if self.writer.is_overdue(now) or (self._is_half_closed and is_reset(self._transport)):
            self._transport.abort()
        elif self._deadline <= now and (self._current is None or self._current.is_over):
            self._transport.close()

    # Inside

    def _received(self, content: bytes) -> None:
        try:
            if self._chunks is not None:
                content = self._feed(self._chunks, content)
            if content and not (self._ends and self._current is None):
                self._parse(self._unparsed + content if self._unparsed else content)
        except ProtocolError as error:
            self._refuse(error)

    def _parse(self, content: bytes) -> None:
        """Serve the requests that ``content`` begins with, until there is one that has to be waited for."""
        start, had = 0, bool(self._unparsed)
        self._is_parsing = True
        try:
            while start < len(content) and self._current is None and not self._ends:
                # An empty line in front of a request is none of it (RFC 9112, 2.2).
                if content.startswith(b"\r\n", start):
                    start += 2
                end = content.find(HEAD_END, max(start, self._searched)) + len(HEAD_END)
                if end < len(HEAD_END):
                    break
                self._searched = 0
                start = self._begin(content[start:end], content, end)
        finally:
            self._is_parsing = False
        self._unparsed = content[start:]
        self._hold()
        if self._current is not None:
            return
        if self._ends or (self._is_half_closed and not self._unparsed):
            self._end()
        elif not self._unparsed:
            self._deadline = self._loop.time() + KEEP_ALIVE_SECONDS
        else:
            check_begin(self._unparsed, self._searched)
            self._searched = max(0, len(self._unparsed) - len(HEAD_END) + 1)
            if not had or start:
                self._deadline = self._loop.time() + HEADER_SECONDS

    def _hold(self) -> None:
        """Count what this connection holds by itself now; too much ends it."""
        if self._lease is None:
            return
        try:
            self._lease.hold(len(self._unparsed) + self._unsent)
        except RequestError as error:
            logger.warning("a connection was ended: %s", error)
            self.abort()

    def _begin(self, content: bytes, rest: bytes, start: int) -> int:
        """Serve the request with the head ``content``. Where what is behind it begins in ``rest``, of which its body
        begins at ``start``."""
        request = self._shared.heads.find(content)
        if request is None:
            request = read_head(content)
            self._shared.heads.add(content, request)
        self._deadline = NEVER
        if request.length is None:
            chunks = ChunkedBody()
            body, used = chunks.feed(rest[start:])
            end = start + used
            if not chunks.is_complete:
                self._chunks = chunks
        else:
            end = min(start + request.length, len(rest))
            body = rest[start:end]
            if len(body) < request.length:
                self._sink = BodySink(request.length - len(body))
        self._serve(request, body, more=self._chunks is not None or self._sink is not None)
        return end

    def _serve(self, request: Request, body: bytes, *, more: bool) -> None:
        if not more and self._answer_inline(request, body):
            return
        self._current = stream = Stream(self, request, body, more=more)
        task = self._loop.create_task(stream.run(self._shared.app))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    def _answer_inline(self, request: Request, body: bytes) -> bool:
        try_inline = self._shared.try_inline
        if try_inline is None or self._transport is None or not self.writer.is_idle:
            return False
        answer = try_inline(request, body, self.client[0] if self.client else "")
        if answer is None:
            return False
        self.writer.write(self.head(request, answer.status, answer.all_headers()), answer.parts)
        return True

    def _finished(self) -> None:
        """Nothing is left to do for the current request: go on with what is behind it, or end."""
        self._current = None
        if self._is_parsing:
            return
        if self._ends or (self._is_half_closed and not self._unparsed):
            self._end()
            return
        if not self._unparsed:
            self._deadline = self._loop.time() + KEEP_ALIVE_SECONDS
            return
        content, self._unparsed, self._searched = self._unparsed, b"", 0
        try:
            self._parse(content)
        except ProtocolError as error:
            self._refuse(error)
        if self._is_half_closed and self._current is None:
            self._end()

    def _feed(self, chunks: ChunkedBody, content: bytes) -> bytes:
        """Give the current request its part of ``content``; what is behind it."""
        body, used = chunks.feed(content)
        if body and self._current is not None:
            self._current.feed(body)
        if chunks.is_complete:
            self._chunks = None
            self._complete()
        return content[used:]

    def _body_updated(self, sink: BodySink, count: int) -> None:
        if not sink.updated(count) and self._current is not None:
            self._current.feed(bytes(self._shared.view[:count]))
        if not sink.left:
            self._sink = None
            self._complete()

    def _complete(self) -> None:
        """The body of the current request is there."""
        stream = self._current
        if stream is None:
            return
        was_answered = stream.is_over
        stream.complete()
        if was_answered:
            self._finished()

    def _refuse(self, error: ProtocolError) -> None:
        """Answer to what is no request, and end. All before it are answered: they are read one after the other."""
        stream, self._current = self._current, None
        has_begun = False
        if stream is not None:
            # Its body will never be complete.
            has_begun = stream.has_begun
            stream.disconnect()
        if self._transport is not None and not has_begun:
            self._transport.write(refusal(error))
        self._ends = True
        self._end(forgets=0 if has_begun else FORGOTTEN_BYTES)

    def _end(self, *, forgets: float = 0) -> None:
        """End the connection. While the client still sends, it is only told so: bytes that come for a closed socket
        would make the kernel take back the answer (RFC 9112, 9.6)."""
        if self._transport is None or self._lingers:
            return
        self._unparsed = b""
        if self._current is not None and self._current.more:
            forgets = NEVER if self._sink is None else self._sink.left
        if not forgets or self._is_half_closed or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            self._lingers, self._forgets = True, forgets
            self._deadline = self._loop.time() + HEADER_SECONDS
            self._transport.write_eof()
            self.regulate()
