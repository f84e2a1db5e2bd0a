"""What all connections of a server have in common."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import ASGIApp

from edgemodel_server.access.budget import Budget
from edgemodel_server.http.head_cache import HeadCache
from edgemodel_server.http.wire import Request
from edgemodel_server.protocol.calls import Answer

READ_BYTES = 64 * 1024
"""Read at a time; a small request with its body is less."""

TryInline = Callable[[Request, bytes, str], Answer | None]
"""Answers a whole request, with its body, from the client's address; None: only the application can."""


class OpenConnection(Protocol):
    """A connection, as the server sees it that took it."""

    def expire(self, now: float) -> None:
        """End it if its client owes something for too long; ``now`` by the loop's time."""

    def finish(self) -> None:
        """End it now, or after the answer that is under way."""

    def abort(self) -> None:
        """End it as it is."""


@dataclass
class Shared:
    """One for each server. ``date`` is the value of that header."""

    app: ASGIApp
    try_inline: TryInline | None = None
    budget: Budget | None = None
    """What connections are counted in, and what they hold by themselves; None: nothing is bounded."""
    connections: set[OpenConnection] = field(default_factory=set)
    tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    date: bytes = b""
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection closes."""
    # What is read stays here for no longer than it takes to parse it, so that one buffer serves all connections.
    buffer: bytearray = field(default_factory=lambda: bytearray(READ_BYTES))
    heads: HeadCache = field(default_factory=HeadCache)

    def __post_init__(self) -> None:
        """Make the view through which ``buffer`` is filled."""
        self.view = memoryview(self.buffer)
