"""grpcio's asyncio server, with what it lacks.

It decodes the path of a call as UTF-8 where an error ends the server, with everybody's calls: one call of a path that
is not UTF-8 is enough. The paths of registered methods it never decodes. So all methods are registered here, and calls
of any other path are refused before it looks at them. That needs some of its private names; ``test_grpc_wire`` notices
if another version has none of them, or does no better.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import grpc.aio._server as asyncio_server  # type: ignore[import-not-found, unused-ignore]
from grpc._cython import cygrpc

logger = logging.getLogger(__name__)

REFUSE_SECONDS = 0.1
"""Refusing one call is waited for no longer: the next ones are refused meanwhile."""

_AioServer: Any = cygrpc.AioServer
_ServicerContext: Any = cygrpc._ServicerContext


_Server: Any = asyncio_server.Server


async def _find_method_handler(method: str, metadata: Any, resolver: Any, _interceptors: object) -> Any:
    """The handler of a method; there are no interceptors here. grpcio's own makes a function for each call that refers
    to itself, and through it all metadata stays in memory until the garbage collector comes."""
    return resolver.resolve_handler(cygrpc._HandlerCallDetails(method, metadata))


cygrpc._find_method_handler = _find_method_handler


class Server(_Server):  # type: ignore[misc]
    """As ``grpc.aio.server`` makes it, but that a call of a method that is not registered is refused."""

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        """A server that is not started, with no port and no method."""
        self._loop = asyncio.get_running_loop()
        self._server = _Core(self._loop, None, (), (), tuple(options), None)


class _Core(_AioServer):  # type: ignore[misc]
    """The object that does what ``grpc.aio.Server`` says."""

    async def _request_call(self) -> Any:
        """The next call of a method that is not registered. It is never given to the caller: see above."""
        refusals: set[asyncio.Task[None]] = set()
        while True:
            call = await super()._request_call()
            task = asyncio.get_running_loop().create_task(_refuse(call))
            refusals.add(task)
            task.add_done_callback(refusals.discard)
            await asyncio.wait({task}, timeout=REFUSE_SECONDS)


async def _refuse(call: Any) -> None:
    context = _ServicerContext(call, None, None, asyncio.get_running_loop())
    try:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "there is no such method here; reflection lists those there are"
        )
    except grpc.aio.AbortError as abort:
        # The call keeps the error, this the frames that it went through, and they the call.
        abort.__traceback__ = None
    except Exception as failure:
        logger.debug("a call ended before it could be refused: %s", failure)


def is_news(record: logging.LogRecord) -> bool:
    """Whether what grpcio logs is more than that a client has left before it was answered, or that it sent bytes for
    text: anybody could fill the log with those."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or (kind.__name__ != "ExecuteBatchError" and not issubclass(kind, UnicodeDecodeError))
