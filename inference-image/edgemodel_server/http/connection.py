"""Connections: bytes to requests, answers to bytes, within bounds.

Most requests are small: such a one comes in one piece and is answered at once where the application can, without a task
of its own. All others are streams, one after the other. Where an application takes a large body into memory of its own,
the bytes go from the socket right there, past the parser.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import cast

import httptools

from edgemodel_server.http.rest import BodyRest
from edgemodel_server.http.shared import Shared
from edgemodel_server.http.stream import Stream
from edgemodel_server.http.wire import CLOSE, Header, Request, address_of, head, refusal, target
from edgemodel_server.protocol.calls import JOINED_BYTES

logger = logging.getLogger(__name__)

HEADER_SECONDS = 20.0
"""Time that a client has for the request line and the headers, from the connection's start or their first bytes; and
for the rest of a body that nobody wants any more."""
KEEP_ALIVE_SECONDS = 75.0
"""Longer than the idle time after which common clients and proxies close, so that it is they who close first."""
HEADER_BYTES = 64 * 1024
"""Of one request's line and headers; what comes in one piece with their begin is not counted."""
NEVER = float("inf")


class Connection(asyncio.BufferedProtocol):
    """One connection: requests are answered in their order."""

    def __init__(self, shared: Shared) -> None:
        """Not connected yet."""
        self.scheme = "http"
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.deadline = NEVER
        """When what the client owes is overdue, by the loop's time."""
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._paused = False
        self._ends = False
        """No further request is read."""
        self._refusal: bytes | None = None
        """What is written at the end, to a client that does not speak HTTP."""
        self._writable: asyncio.Future[None] | None = None

        self._current: Stream | None = None
        """The one being answered."""
        self._next: deque[Stream] = deque()
        """Those behind it, pipelined."""
        self._arriving: Stream | None = None
        """The one whose body is not complete."""

        self._url = b""
        self._headers: list[Header] = []
        self._body: bytes | bytearray = b""
        self._in_headers = False
        self._in_body = False
        self._is_new = False
        """It began with what was parsed last."""
        self._header_bytes = 0
        self._begun: tuple[Request, bytes | bytearray] | None = None
        """The last request, and what was there of its body, of what was parsed last."""

        self._received = 0
        """Bytes of the arriving body that the parser gave."""
        self._rest: BodyRest | None = None
        """What is still to come of it past the parser."""

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The time for the first headers begins."""
        self._transport = cast(asyncio.Transport, transport)
        self.client = address_of(transport.get_extra_info("peername"))
        self.server = address_of(transport.get_extra_info("sockname"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self.deadline = self._loop.time() + HEADER_SECONDS
        self._shared.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Nobody is there any more."""
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.emptied.set()
        self._transport = None
        for stream in (self._current, self._arriving, *self._next):
            if stream is not None:
                stream.disconnect()
        self._current = self._arriving = None
        self._next.clear()
        if self._rest is not None:
            self._rest.release()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        """The client takes what it is sent more slowly than it is written."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def get_buffer(self, _: int) -> memoryview:
        """Where the next bytes go."""
        return self._shared.view if self._rest is None else self._rest.place(self._shared.view)

    def buffer_updated(self, count: int) -> None:
        """``count`` bytes are there: more of a request, or of several."""
        if self._rest is not None:
            self._came_past(self._rest, count)
            return
        if self._ends and self._arriving is None:
            return
        is_first = self._is_idle
        if not (is_first and self._is_known(count)):
            self._begun = None
            self._parse(self._shared.view[:count])
            if is_first and self._begun is not None:
                self._shared.heads.learn(self._shared.buffer, count, *self._begun)
            if self._in_headers:
                self._bound_headers(count)
        self.regulate()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Headers follow."""
        self._url, self._headers, self._body = b"", [], b""
        self._in_headers = self._is_new = True

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._in_headers, self._in_body = False, True
        self._received = 0
        self.deadline = NEVER

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._received += len(body)
        if self._arriving is not None:
            self._arriving.feed(body)
        elif self._body:
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += body
        else:
            self._body = body

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = False
        if self._arriving is None:
            self._begin(more=False)
        else:
            self._arrived()

    # What streams call

    def write(self, head: bytes, parts: Sequence[bytes | memoryview]) -> None:
        """Write one after the other; what is small together in one piece."""
        if self._transport is None:
            return
        if sum(map(len, parts)) <= JOINED_BYTES:
            self._transport.write(b"".join((head, *parts)))
            return
        self._transport.write(head)
        for part in parts:
            self._transport.write(part)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        if self._writable is not None:
            await self._writable

    def head(self, request: Request, status: int, headers: list[Header]) -> bytes:
        """The beginning of an answer; it says whether the connection ends with it."""
        if CLOSE in headers or not request.keep_alive:
            self._ends = True
        return head(status, [each for each in headers if each != CLOSE], self._shared.date, close=self._ends)

    def answered(self, stream: Stream) -> None:
        """The answer of ``stream`` is written: go on with the next request."""
        self._current = None
        if self._arriving is stream:
            self.deadline = self._loop.time() + HEADER_SECONDS
        self._advance()
        self.regulate()

    async def read_into(self, memory: memoryview) -> None:
        """Fill ``memory`` with what follows of the arriving body, which has a length; or else the client has gone."""
        if self._arriving is None:
            return
        if self._rest is None:
            self._rest = BodyRest((self._arriving.request.length or 0) - self._received)
            # This one does not see the end of the request.
            self._parser = httptools.HttpRequestParser(self)
        rest, filled = self._rest, self._rest.fill(memory)
        self.regulate()
        try:
            await filled
        finally:
            rest.forget()
            self.regulate()

    def regulate(self) -> None:
        """Read on, or not: what nobody has asked for yet stays with the client."""
        if self._transport is None or self._transport.is_closing():
            return
        arriving = self._arriving
        pause = bool(self._next)
        if arriving is not None and not arriving.is_over:
            pause = arriving.has_body or (self._rest is not None and not self._rest.is_wanted)
        if pause is not self._paused:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection as it is."""
        if self._transport is not None:
            self._transport.abort()

    # What the server calls

    def finish(self) -> None:
        """No further request: end now, or after the answer that is under way."""
        self._ends = True
        if self._current is None:
            self._close()

    def expire(self) -> None:
        """The client owes something for too long; while it waits for an answer itself, it may."""
        if self._transport is not None and self._current is None:
            self._transport.close()

    # Inside

    @property
    def _is_idle(self) -> bool:
        """Whether what comes next is the beginning of a request, with none before it."""
        return not (self._current or self._arriving or self._next or self._in_headers or self._ends or self._refusal)

    def _is_known(self, count: int) -> bool:
        """Whether what was read is a request whose head is known; it is served then, without the parser."""
        known = self._shared.heads.find(self._shared.buffer, count)
        if known is None:
            return False
        self.deadline = NEVER
        left = known.size + known.length - count
        self._rest = BodyRest(left) if left else None
        self._serve(known.request, bytes(self._shared.view[known.size : count]), more=left > 0)
        return True

    def _parse(self, content: memoryview) -> None:
        try:
            while content:
                try:
                    self._parser.feed_data(content)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    # There is no other protocol here: the request is answered as it is, and what follows is HTTP.
                    self._parser = httptools.HttpRequestParser(self)
                    content = content[upgrade.args[0] :]
            if self._in_body:
                # The rest is to come: the application learns of the request now.
                self._in_body = False
                self._begin(more=True)
        except (httptools.HttpParserError, ValueError) as error:
            cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
            if cause is not None and not isinstance(cause, httptools.HttpParserError | ValueError):
                logger.error("a connection failed", exc_info=cause)
                self.abort()
            else:
                self._refuse(b"400 Bad Request", f"this is not HTTP as this server reads it: {cause or error}")

    def _begin(self, *, more: bool) -> None:
        if self._ends or self._refusal is not None:
            return
        path, raw_path, query = target(self._url)
        parser = self._parser
        version = parser.get_http_version()
        keep_alive = parser.should_keep_alive() and version != "1.0"
        request = Request(parser.get_method(), path, query, raw_path, self._headers, version, keep_alive)
        body, self._body = self._body, b""
        self._begun = request, body
        self._serve(request, body, more=more)

    def _serve(self, request: Request, body: bytes | bytearray, *, more: bool) -> None:
        if not (more or self._current or self._next) and self._answer_at_once(request, body):
            return
        stream = Stream(self, request, body, more=more)
        if more:
            self._arriving = stream
        self._next.append(stream)
        if self._current is None:
            self._advance()

    def _answer_at_once(self, request: Request, body: bytes | bytearray) -> bool:
        at_once = self._shared.at_once
        if at_once is None or self._transport is None or self._writable is not None:
            return False
        answer = at_once(request, body, self.client[0] if self.client else "")
        if answer is None:
            return False
        self.write(self.head(request, answer.status, answer.all_headers()), answer.parts)
        self.deadline = self._loop.time() + KEEP_ALIVE_SECONDS
        if self._ends:
            self._close()
        return True

    def _advance(self) -> None:
        """Begin with the next request, or wait for it, or end."""
        if self._transport is None:
            return
        if self._ends:
            self._close()
        elif self._next:
            self._current = stream = self._next.popleft()
            task = self._loop.create_task(stream.run(self._shared.app))
            self._shared.tasks.add(task)
            task.add_done_callback(self._shared.tasks.discard)
        elif self._refusal is not None:
            self._transport.write(self._refusal)
            self._transport.close()
        elif self._arriving is None:
            self.deadline = self._loop.time() + (HEADER_SECONDS if self._in_headers else KEEP_ALIVE_SECONDS)

    def _arrived(self) -> None:
        stream, self._arriving = self._arriving, None
        if stream is None:
            return
        was_answered = stream.is_over
        stream.complete()
        if was_answered:
            self._advance()

    def _came_past(self, rest: BodyRest, count: int) -> None:
        if not rest.came(count) and self._arriving is not None:
            self._arriving.feed(bytes(self._shared.view[:count]))
        if not rest.left:
            self._rest = None
            self._arrived()
        self.regulate()

    def _bound_headers(self, count: int) -> None:
        if self._is_new:
            self._is_new = False
            self._header_bytes = 0
            self.deadline = self._loop.time() + HEADER_SECONDS
            return
        self._header_bytes += count
        if self._header_bytes > HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", f"the headers are larger than {HEADER_BYTES} bytes")

    def _refuse(self, status: bytes, sentence: str) -> None:
        self._refusal = refusal(status, sentence)
        self._in_body = self._in_headers = False
        broken, self._arriving = self._arriving, None
        if broken is not None:
            # Its body will never be complete.
            broken.disconnect()
            self._next = deque(stream for stream in self._next if stream is not broken)
            if self._current is broken:
                self._current = None
        if self._current is None:
            self._advance()

    def _close(self) -> None:
        """End the connection. While the client still sends, it is only told so: bytes that come for a closed socket
        would make the kernel take back the answer (RFC 9112, 9.6)."""
        if self._transport is None:
            return
        if self._arriving is None or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
