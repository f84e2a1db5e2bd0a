"""The sending half of a connection: what is written, what the client has not taken, and for how long it may not."""

import asyncio
from collections.abc import Sequence

from edgemodel_server.protocol.calls import JOINED_BYTES

WRITE_SECONDS = 30.0
"""Time that a client has to take an answer, and beside it what SLOWEST_BYTES give it."""
SLOWEST_BYTES = 16 * 1024
"""A client that takes fewer bytes of its answer per second is given up."""
NEVER = float("inf")


class AnswerWriter:
    """Writes to a transport from ``attach`` to ``detach``; before and after, what is written goes nowhere."""

    def __init__(self) -> None:
        """A writer without a transport."""
        self._transport: asyncio.Transport | None = None
        self._taken: asyncio.Future[None] | None = None
        """Done when the client has taken all that was written; None: it has."""
        self._deadline = NEVER
        """When it should have, by the loop's time."""

    def attach(self, transport: asyncio.Transport) -> None:
        """Write to ``transport`` from now on."""
        # So that whatever the socket does not take at once counts as not taken.
        transport.set_write_buffer_limits(high=0)
        self._transport = transport

    def detach(self) -> None:
        """The connection is lost: nobody waits for its client any more."""
        self._transport = None
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    @property
    def is_idle(self) -> bool:
        """Whether all that was written has gone out."""
        return self._taken is None

    def is_overdue(self, now: float) -> bool:
        """Whether the client takes its answer too slowly; ``now`` by the loop's time."""
        return self._deadline <= now

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
        """Wait until all that was written has gone out, or nobody is there any more."""
        if self._taken is not None:
            await self._taken

    def pause(self, now: float) -> int:
        """The client takes what it is sent more slowly than it is written; the bytes that it has not taken yet."""
        self._taken = asyncio.get_running_loop().create_future()
        if self._transport is None:
            return 0
        size = self._transport.get_write_buffer_size()
        self._deadline = now + WRITE_SECONDS + size / SLOWEST_BYTES
        return size

    def resume(self) -> None:
        """The client has taken all that was written."""
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        self._taken = None
        self._deadline = NEVER
