"""One request and its answer as ASGI sees them: the body comes in pieces, and the answer goes out in pieces."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message

from edgemodel_server.errors import ServerFaultError
from edgemodel_server.http.answer_writer import AnswerWriter
from edgemodel_server.http.wire import CONTINUE, WITHOUT_BODY, Header, Request
from edgemodel_server.protocol.calls import READ_INTO, WHEN_GONE, error_answer

logger = logging.getLogger(__name__)


class StreamConnection(Protocol):
    """The connection of a stream, as the stream sees it."""

    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    writer: AnswerWriter

    def head(self, request: Request, status: int, headers: list[Header]) -> bytes:
        """The beginning of the answer to ``request``."""

    def answered(self, stream: "Stream") -> None:
        """The answer of ``stream`` is written."""

    async def read_into(self, memory: memoryview) -> None:
        """Fill ``memory`` with what follows of the body."""

    def regulate(self) -> None:
        """Read on, or not, after the stream has taken what there was."""

    def abort(self) -> None:
        """End the connection as it is."""


class Stream:
    """A request on ``connection``, of whose body ``body`` is there, and all of it unless ``more``."""

    def __init__(self, connection: StreamConnection, request: Request, body: bytes, *, more: bool) -> None:
        """A request that is not answered yet."""
        self.request = request
        self.is_over = False
        """The answer is complete, or nobody is there who could read it."""
        self.more = more
        """More of the body is to come."""
        self._connection = connection
        self._body: bytes | bytearray = body
        self._taken = False
        """The application knows that the body is complete."""
        self._gone = False
        self._leave: Callable[[], object] | None = None
        self._expects_continue = request.expects_continue
        self._waiting: asyncio.Future[None] | None = None
        self._start: Message | None = None
        self._rest = 0
        """Bytes of the answer's body that are still to be sent."""

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer is written."""
        return self._start is not None and self._rest >= 0

    @property
    def has_body(self) -> bool:
        """Whether bytes of the body lie here that the application has not taken."""
        return bool(self._body)

    def feed(self, body: bytes) -> None:
        """Take in a further piece of the body."""
        if self.is_over:
            return
        if self._body:
            # A client may send its body in very many chunks.
            self._body = bytearray(self._body) if isinstance(self._body, bytes) else self._body
            self._body += body
        else:
            self._body = body
        self._wake()

    def complete(self) -> None:
        """The body is complete."""
        self.more = False
        self._wake()

    def disconnect(self) -> None:
        """The client has gone."""
        self._gone = self.is_over = True
        self._wake()
        if self._leave is not None:
            self._leave()

    async def run(self, app: ASGIApp) -> None:
        """Let ``app`` answer."""
        try:
            await app(self._scope(), self.receive, self.send)
            if not self.is_over:
                raise RuntimeError("the application left the request without an answer")
        except ClientDisconnect:
            logger.debug("a client left before it had its answer")
        except Exception:
            logger.exception("a request failed")
            self._fail()
        except asyncio.CancelledError:
            # The server ends, and with it the connection.
            self._connection.abort()
            raise

    async def receive(self) -> Message:
        """What of the body is there, or that there will be no more."""
        self._ask()
        while not (self._body or self.is_over or not self.more):
            await self._wait()
        if self.is_over:
            return {"type": "http.disconnect"}
        if not self._body and not self.more and self._taken:
            # The body was delivered to its end: what can still come is the client's leave.
            while not self.is_over:
                await self._wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, b""
        self._taken = not self.more
        self._connection.regulate()
        return {"type": "http.request", "body": bytes(body), "more_body": self.more}

    async def read_into(self, memory: memoryview) -> None:
        """Fill ``memory`` with the bytes of the body that follow; there must be so many. They come from the socket
        without a detour.

        Raises:
            ConnectionResetError: the client has gone.
        """
        self._ask()
        have = min(len(self._body), len(memory))
        memory[:have] = self._body[:have]
        self._body = self._body[have:]
        if have < len(memory) and not self._gone:
            await self._connection.read_into(memory[have:])
        if self._gone:
            raise ConnectionResetError("the client has gone")
        self._taken = not self.more

    def when_gone(self, leave: Callable[[], object] | None) -> None:
        """Call ``leave`` when the client goes, or now if it has gone; None: nothing any more."""
        self._leave = leave
        if self._gone and leave is not None:
            leave()

    async def send(self, message: Message) -> None:
        """The answer's beginning, or a piece of its body. Every answer has a length. Returns when the client has taken
        all of it that the kernel has no room for.

        Raises:
            RuntimeError: pieces in a wrong order, or another length than the answer's header says.
            ClientDisconnect: nobody takes it any more.
        """
        if self._gone:
            raise ClientDisconnect
        if self.is_over:
            return
        if message["type"] == "http.response.start":
            if self._start is not None:
                raise RuntimeError("the answer began already")
            self._start = message
            self._rest = -1
            return
        if self._start is None:
            raise RuntimeError("a piece of an answer that has not begun")
        body, more = message.get("body", b""), message.get("more_body", False)
        head = b""
        if self._rest < 0:
            length = _length(self._start["headers"], body, more=more)
            head = self._head(self._start, length)
            self._rest = length
        self._rest -= len(body)
        if self._rest < 0 or (self._rest and not more):
            raise RuntimeError("the answer's body is not as long as its header says")
        if self.request.method == b"HEAD" or self._start["status"] in WITHOUT_BODY:
            body = b""
        self._connection.writer.write(head, (body,))
        if not self._connection.writer.is_idle:
            await self._connection.writer.drain()
            if self._gone:
                raise ClientDisconnect
        if not more:
            self._answered()

    def _head(self, start: Message, length: int) -> bytes:
        status, headers = start["status"], list(start["headers"])
        if not any(name.lower() == b"content-length" for name, _ in headers) and status not in WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % length))
        self._expects_continue = False
        return self._connection.head(self.request, status, headers)

    def _fail(self) -> None:
        """Answer that this server is at fault, or where it is too late for that break off."""
        if self.is_over:
            return
        if self.has_begun:
            self._connection.abort()
            return
        answer = error_answer(ServerFaultError())
        self._connection.writer.write(
            self._connection.head(self.request, answer.status, answer.all_headers()), answer.parts
        )
        self._answered()

    def _answered(self) -> None:
        self.is_over = True
        self._body = b""
        self._wake()
        self._connection.answered(self)

    def _ask(self) -> None:
        if self._expects_continue and self.more and not self.is_over:
            self._connection.writer.write(CONTINUE, ())
        self._expects_continue = False

    async def _wait(self) -> None:
        self._connection.regulate()
        self._waiting = waiting = asyncio.get_running_loop().create_future()
        try:
            await waiting
        finally:
            if self._waiting is waiting:
                self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _scope(self) -> dict[str, Any]:
        request, connection = self.request, self._connection
        extensions: dict[str, Any] = {WHEN_GONE: self.when_gone}
        if request.length is not None:
            extensions[READ_INTO] = self.read_into
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "method": request.method.decode("ascii"),
            "scheme": connection.scheme,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "root_path": "",
            "headers": list(request.headers),
            "client": connection.client,
            "server": connection.server,
            "extensions": extensions,
        }


def _length(headers: list[Header], body: bytes, *, more: bool) -> int:
    for name, value in headers:
        if name.lower() == b"content-length":
            return int(value)
    if more:
        raise RuntimeError("an answer in pieces needs a content-length")
    return len(body)
