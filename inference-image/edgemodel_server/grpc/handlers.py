"""Every call of gRPC, from its arrival to its end: keys, the form of errors, metrics, access log.

It does with ``Handling`` what ``http/app.py`` does for REST. Messages are bytes on both sides.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from edgemodel_server.errors import BadRequestError, TooLargeError
from edgemodel_server.grpc.call import Call, Context
from edgemodel_server.grpc.connections import Connections
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.protocol.coding import coding_of_message, decompress
from edgemodel_server.protocol.memory import Memory
from edgemodel_server.service import Service

Unary = Callable[[bytes, Call], Awaitable[bytes]]
Streaming = Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]


@dataclass(frozen=True)
class UnaryMethod:
    """One message in, one out. ``endpoint`` is its label in the metrics; None: it is not counted there. ``is_open``: it
    needs no key."""

    unary: Unary
    endpoint: str | None = None
    is_open: bool = False


@dataclass(frozen=True)
class StreamingMethod:
    """Messages in, messages out. ``is_open`` as for ``UnaryMethod``."""

    streaming: Streaming
    is_open: bool = False


Method = UnaryMethod | StreamingMethod


class Handlers:
    """Makes gRPC's handlers of methods. None of them has a codec: what comes goes to the method as it is."""

    def __init__(self, service: Service, connections: Connections) -> None:
        """Handlers for one server, with its ``connections``."""
        self._service = service
        self._connections = connections

    def of(self, path: str, method: Method) -> Any:
        """The handler of a method, called by ``path``."""
        # Handlers of streams are called before a message is there, so that it can be refused before it comes.
        if isinstance(method, StreamingMethod):
            streaming_method = method

            async def serve_stream(_: Any, context: Context) -> None:
                await self._serve_stream(path, streaming_method, context)

            return grpc.stream_stream_rpc_method_handler(serve_stream)

        async def serve(_: Any, context: Context) -> bytes:
            return await self._serve(path, method, context)

        return grpc.stream_unary_rpc_method_handler(serve)

    async def _serve(self, path: str, method: UnaryMethod, context: Context) -> bytes:
        call = Call(self._service, context, path, method.endpoint)
        content = b""
        try:
            self._connections.begin(call)
            if not method.is_open:
                call.authenticate()
            self._connections.receiving(call)
            content = await context.read()
            self._connections.received(call, content)
            if content is grpc.aio.EOF:
                limit = self._service.settings.max_body
                raise BadRequestError(f"the call has no message, or one of more than {limit} bytes")
            answer = await method.unary(await self._unpacked(content, call), call)
            self._connections.sending(call, len(answer))
        except asyncio.CancelledError:
            call.handling.cancelled()
            call.handling.close()
            raise
        except grpc.aio.AbortError:
            raise  # it took too long to send its message
        except Exception as error:
            # What it holds is large, and gRPC may keep the error for a while.
            content = b""
            await call.refuse(error)
            return b""
        call.handling.answered(len(answer))
        call.handling.close()
        return answer

    async def _unpacked(self, content: bytes, call: Call) -> bytes:
        """``content`` without its coding; away from the event loop where that may take long."""
        limit = self._service.settings.max_body
        if coding_of_message(content) is None:
            return content
        if len(content) <= INLINE_BYTES:
            with contextlib.suppress(TooLargeError):
                return unpacked(content, min(INLINE_BYTES, limit), call.lease)
        whole: bytes = await self._service.scheduler.offload_json(unpacked, content, limit, call.lease)
        return whole

    async def _serve_stream(self, path: str, method: StreamingMethod, context: Context) -> None:
        call = Call(self._service, context, path, None)

        async def messages() -> AsyncIterator[bytes]:
            while (message := await context.read()) is not grpc.aio.EOF:
                yield unpacked(message, INLINE_BYTES, call.lease)

        try:
            self._connections.begin(call)
            if not method.is_open:
                call.authenticate()
            async for answer in method.streaming(messages()):
                await context.write(answer)
        except asyncio.CancelledError:
            call.handling.cancelled()
            call.handling.close()
            raise
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await call.refuse(error)
        else:
            call.handling.answered(0)
            call.handling.close()


def unpacked(content: bytes, limit: int, memory: Memory) -> bytes:
    """A message without its coding. gRPC is told to leave messages as they are, for it unpacks them before anybody can
    say whether there is memory for them.

    Raises:
        RequestError: as ``decompress``.
    """
    coding = coding_of_message(content)
    return content if coding is None else decompress(content, coding, limit, memory)
