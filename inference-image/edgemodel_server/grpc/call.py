"""gRPC over HTTP/2: one call, its message in and its answer out."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from struct import Struct

import grpc

from edgemodel_server.access.budget import client_of
from edgemodel_server.errors import (
    BadRequestError,
    BodyTimeoutError,
    DeadlineError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedContentError,
    shown,
)
from edgemodel_server.grpc.connection import Connection
from edgemodel_server.grpc.eager import start
from edgemodel_server.grpc.headers import Headers, block, escaped
from edgemodel_server.grpc.stream import Stream
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.protocol.coding import CODINGS, decompress
from edgemodel_server.service import Service

logger = logging.getLogger(__name__)

_PREFIX = Struct(">BI")
_CONTENT_TYPE = b"application/grpc"
_HEAD = [(":status", "200"), ("content-type", "application/grpc")]
_ANSWER = block(_HEAD)
_OK = block([("grpc-status", "0")])
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
SMALL_BYTES = 4096
MOST_WAITING = 64
"""Messages of one call that come before the one before them is answered."""

_CODES: dict[type[RequestError], grpc.StatusCode] = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    RefusedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnauthorizedError: grpc.StatusCode.UNAUTHENTICATED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    BodyTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    UnsupportedContentError: grpc.StatusCode.UNIMPLEMENTED,
}


class StatusError(Exception):
    """Ends a call with a status of gRPC's own."""

    def __init__(self, code: grpc.StatusCode, sentence: str) -> None:
        """The sentence goes to the client."""
        super().__init__(sentence)
        self.code = code


Unary = Callable[[bytes, "Call"], Awaitable[bytes]]
Streaming = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Methods:
    """What can be called, by path."""

    unary: Mapping[bytes, Unary]
    streaming: Mapping[bytes, Streaming]


async def _missing(_: bytes, call: "Call") -> bytes:
    path = shown(call.headers[b":path"].decode("latin-1"))
    raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"there is no {path} here")


def status_of(error: RequestError) -> grpc.StatusCode:
    """The status code of an error's class; INTERNAL where it has none of its own."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


class Call:
    """The receiver of a stream: collects the message, runs the method, and answers."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_held",
        "_lease",
        "_over",
        "_queue",
        "_service",
        "_stream",
        "_task",
        "_unary",
        "headers",
        "started",
    )

    def __init__(
        self, service: Service, methods: Methods, connection: Connection, stream: Stream, headers: Headers
    ) -> None:
        """Answers at once what cannot be called."""
        self.started = time.perf_counter()
        self.headers = headers
        self._service = service
        self._connection = connection
        self._stream = stream
        stream.receiver = self
        self._chunks: list[bytes | bytearray] = []
        self._held = 0
        self._lease = service.budget.lease(client_of(connection.address), connection)
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self._queue: asyncio.Queue[bytes | None] | None = None
        path = headers[b":path"]
        self._unary = methods.unary.get(path, _missing)
        streaming = methods.streaming.get(path)
        kind = headers.get(b"content-type", b"")
        if headers[b":method"] != b"POST":
            self._end(block([(":status", "405"), ("allow", "POST")]))
        elif not kind.startswith(_CONTENT_TYPE) or kind[len(_CONTENT_TYPE) :][:1] not in (b"", b"+", b";"):
            self._end(block([(":status", "415")]))
        elif streaming is not None:
            self._queue = asyncio.Queue(MOST_WAITING + 1)  # and the end
            self._task = start(self._serve_stream(streaming, self._queue))

    @property
    def address(self) -> str:
        """The client's."""
        return self._connection.address

    def timeout(self) -> float | None:
        """Seconds that the client waits, counted from ``started``; None where it does not say.

        Raises:
            BadRequestError: it is no time.
        """
        value = self.headers.get(b"grpc-timeout")
        if value is None:
            return None
        digits, unit = value[:-1], _UNITS.get(value[-1:])
        if unit is None or not digits.isdigit() or len(digits) > 8:
            raise BadRequestError(f"grpc-timeout is {shown(value.decode('latin-1'))}; give digits and one of HMSmun")
        return int(digits) * unit

    # What the stream tells.

    def data(self, content: bytes, *, ended: bool) -> None:
        """More of the message; with the last of it the method runs."""
        if self._over:
            return
        try:
            if content:
                self._add(content)
                self._held += len(content)
                self._lease.hold(len(content))
            if self._queue is not None:
                self._enqueue(self._queue, ended=ended)
            elif ended:
                message = self._message()
                if message is None or self._chunks:
                    raise BadRequestError("the call has not exactly one message")
                self._task = start(self._serve(*message))
            else:
                self._check_size()
        except RequestError as error:
            self._refuse(error)
            if self._task is not None:
                self._task.cancel()

    def gone(self) -> None:
        """The client has gone."""
        self._finish()
        if self._task is not None:
            self._task.cancel()

    def slow(self) -> None:
        """The message does not come."""
        if self._queue is None and not self._over:
            seconds = self._service.settings.body_timeout
            self._refuse(BodyTimeoutError(f"the message did not arrive within {seconds:g} seconds"))

    # Messages.

    def _add(self, content: bytes) -> None:
        if self._chunks and len(content) < SMALL_BYTES:
            # As objects of their own, small pieces would take many times their size.
            last = self._chunks[-1]
            if isinstance(last, bytearray):
                last += content
            else:
                self._chunks.append(bytearray(content))
        else:
            self._chunks.append(content)

    def _check_size(self) -> int | None:
        """The length that the first message says it has; None where too little has come to tell.

        Raises:
            TooLargeError: it is over the limit.
        """
        chunks = self._chunks
        if not chunks or (len(chunks[0]) < _PREFIX.size and self._held < _PREFIX.size):
            return None
        if len(chunks[0]) < _PREFIX.size:
            chunks[:] = [b"".join(chunks)]
            if len(chunks[0]) < _PREFIX.size:
                return None
        size: int = _PREFIX.unpack_from(chunks[0])[1]
        limit = self._service.settings.max_body
        if size > limit:
            raise TooLargeError(f"the message is larger than {limit} bytes; send less, or raise EDGEMODEL_MAX_BODY")
        if self._queue is None and self._held > _PREFIX.size + size:
            raise BadRequestError("the call has not exactly one message")
        return size

    def _message(self) -> tuple[bytes, bool] | None:
        """The first message that is complete, and whether it is compressed; it is taken. None: there is none."""
        size = self._check_size()
        if size is None:
            return None
        chunks, end = self._chunks, _PREFIX.size + size
        have = sum(map(len, chunks))
        if have < end:
            return None
        flag = chunks[0][0]
        if flag > 1:
            raise BadRequestError(f"the message's first byte is {flag}; 0 is plain and 1 compressed")
        if have == end:
            # As it is most often: large messages are copied once.
            chunks[0] = chunks[0][_PREFIX.size :]
            self._chunks = []
            return b"".join(chunks), bool(flag)
        content = b"".join(chunks)
        self._chunks = [content[end:]]
        return content[_PREFIX.size : end], bool(flag)

    def _enqueue(self, queue: "asyncio.Queue[bytes | None]", *, ended: bool) -> None:
        try:
            while (message := self._message()) is not None:
                content, compressed = message
                queue.put_nowait(self._unpack(content, INLINE_BYTES) if compressed else content)
            self._lease.release(self._held)
            self._held = sum(map(len, self._chunks))
            self._lease.hold(self._held)
            if ended:
                queue.put_nowait(None)
        except asyncio.QueueFull as error:
            raise OverloadedError(f"more than {MOST_WAITING} messages wait for their answers") from error

    def _unpack(self, content: bytes, limit: int) -> bytes:
        """A compressed message, of at most ``limit`` bytes."""
        coding = self.headers.get(b"grpc-encoding", b"identity").decode("latin-1")
        if coding not in CODINGS:
            raise UnsupportedContentError(f"grpc-encoding is {shown(coding)}; send {', '.join(CODINGS)} or identity")
        try:
            return decompress(content, coding, limit)
        except BadRequestError as error:
            raise BadRequestError(f"the message is not {coding}, as grpc-encoding says") from error

    async def _unpacked(self, content: bytes) -> bytes:
        limit = self._service.settings.max_body
        if len(content) <= INLINE_BYTES:
            try:
                return self._unpack(content, min(INLINE_BYTES, limit))
            except TooLargeError:
                pass
        unpacked = await self._service.bodies.offload(self._unpack, content, limit)
        self._held += len(unpacked)
        self._lease.hold(len(unpacked))
        return bytes(unpacked)

    # The method.

    async def _serve(self, content: bytes, compressed: bool) -> None:
        try:
            if compressed:
                content = await self._unpacked(content)
            answer = await self._unary(content, self)
        except RequestError as error:
            self._refuse(error)
        except StatusError as error:
            self.refuse(error.code, str(error))
        except Exception:
            self._fail()
        else:
            self._connection.respond(self._stream, _ANSWER, _PREFIX.pack(0, len(answer)) + answer, _OK)
            self._finish()

    async def _serve_stream(self, method: Streaming, queue: "asyncio.Queue[bytes | None]") -> None:
        async def messages() -> AsyncIterator[bytes]:
            while (message := await queue.get()) is not None:
                yield message

        head = _ANSWER
        try:
            async for answer in method(messages()):
                self._connection.respond(self._stream, head, _PREFIX.pack(0, len(answer)) + answer, None)
                head = b""
                await self._stream.drained()
            self._connection.respond(self._stream, head, b"", _OK)
        except StatusError as error:
            self.refuse(error.code, str(error))
        except Exception:
            self._fail()
        finally:
            self._finish()

    def _fail(self) -> None:
        logger.exception("a request failed")
        self.refuse(grpc.StatusCode.INTERNAL, "the server failed on this request; its log says why")

    # The end.

    def _refuse(self, error: RequestError) -> None:
        if error.reason is not None:
            self._service.metrics.reject(error.reason)
        trailing: list[tuple[str, str]] = []
        if isinstance(error, RefusedError):
            trailing = [("grpc-retry-pushback-ms", str(max(1, round(error.retry_after * 1e3))))]
        if isinstance(error, UnsupportedContentError):
            trailing = [("grpc-accept-encoding", ",".join(("identity", *CODINGS)))]
        self.refuse(status_of(error), str(error), trailing)

    def refuse(self, code: grpc.StatusCode, sentence: str, trailing: list[tuple[str, str]] | None = None) -> None:
        """End it with a status other than OK."""
        status = [("grpc-status", str(code.value[0])), ("grpc-message", escaped(sentence))]
        self._end(block([*_HEAD, *status, *(trailing or ())]))

    def _end(self, headers: bytes) -> None:
        self._connection.refuse(self._stream, headers)
        self._finish()

    def _finish(self) -> None:
        self._over = True
        self._chunks = []
        self._lease.release(self._held)
        self._held = 0
