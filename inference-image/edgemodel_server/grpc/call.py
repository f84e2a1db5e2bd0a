"""One call: what came with it, what it may hold, and how its end is told."""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from edgemodel_server.endpoints.handling import Handling
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
)
from edgemodel_server.service import Service

logger = logging.getLogger(__name__)

ENTRY_BYTES = 32
"""What an entry of metadata counts beside its name and value (RFC 9113, 6.5.2)."""

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

Context = grpc.aio.ServicerContext[Any, Any]


def status_of(error: RequestError) -> grpc.StatusCode:
    """The status code of an error's class; INTERNAL where it has none of its own."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


class Call:
    """A call of a client. ``since`` is when it began, or when its answer was given to gRPC, by ``time.monotonic``."""

    __slots__ = (
        "_abort",
        "_context",
        "charged",
        "handling",
        "headers",
        "lease",
        "metadata_size",
        "peer",
        "since",
        "size",
    )

    def __init__(self, service: Service, context: Context, path: str, endpoint: str | None) -> None:
        """``endpoint`` is its label in the metrics; None: it is not counted there."""
        self._context = context
        self._abort: grpc.aio.AbortError | None = None
        self.peer: str = context.peer()
        metadata = context.invocation_metadata() or ()
        self.headers: Mapping[bytes, bytes] = {
            name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in metadata
        }
        # Of all entries, not of all names: one name may come thousands of times.
        self.metadata_size = sum(len(name) + len(value) + ENTRY_BYTES for name, value in metadata)
        self.handling = Handling(service, "gRPC", path, address_of(self.peer)[0], endpoint)
        self.lease = self.handling.lease(self.peer)
        self.since = time.monotonic()
        self.charged = 0
        """Bytes of the message that the budget was charged while it came."""
        self.size = 0
        """Bytes of the answer that its client may not have taken yet."""

    def authenticate(self) -> None:
        """Check its key, and charge what it holds to the client that has it.

        Raises:
            RequestError: as ``Handling.authenticate``.
        """
        self.handling.authenticate(self.headers)
        self.lease = self.handling.lease(self.peer)

    def deadline(self, longest: float) -> float:
        """When the client stops waiting, at most ``longest`` seconds after its call began, by ``time.perf_counter``."""
        remaining = self._context.time_remaining()
        latest = self.handling.started + longest
        return latest if remaining is None else min(latest, time.perf_counter() + remaining)

    @property
    def is_late(self) -> bool:
        """Whether the client's deadline has passed."""
        remaining = self._context.time_remaining()
        return remaining is not None and remaining <= 0

    async def refuse(self, error: Exception) -> None:
        """End it with the status of ``error``, once it is counted and logged.

        Raises:
            AbortError: always, but where the call has ended already. It ends its handler.
        """
        told = self.handling.refused(error)
        error.__traceback__ = None
        self.handling.close()
        trailing: list[tuple[str, str]] = []
        if isinstance(told, RefusedError):
            trailing = [("grpc-retry-pushback-ms", str(max(1, round(told.retry_after * 1e3))))]
        try:
            await self._context.abort(status_of(told), str(told), tuple(trailing))
        except grpc.aio.AbortError as abort:
            self._abort = abort
            raise
        except Exception as failure:
            logger.debug("a call ended before it could be refused: %s", failure)

    def end(self) -> None:
        """Give back what it holds; its task has ended. gRPC keeps the error that ended it, and this the frames that it
        went through, and those the call: there they part, for garbage is collected seldom."""
        self.lease.close()
        if self._abort is not None:
            self._abort.__traceback__ = None
            self._abort = None

    async def refuse_from_outside(self, error: Exception) -> None:
        """As ``refuse``, for who is not its handler, which ends a moment later."""
        try:
            await self.refuse(error)
        except grpc.aio.AbortError as abort:
            abort.__traceback__ = None  # see ``end``


@lru_cache(4096)
def address_of(peer: str) -> tuple[str, int]:
    """IP address and port in what gRPC calls a peer, as in ``ipv4:127.0.0.1:80`` and ``ipv6:%5B::1%5D:80``."""
    host, _, port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port) if port.isdecimal() else 0
