"""One stream of an HTTP/2 connection, from the server's side: what it may still send, and what waits to be sent."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edgemodel_server.grpc.frames import END_HEADERS, END_STREAM, Kind, frame


class Receiver(Protocol):
    """What takes a stream's content. It is told nothing more after ``gone``, or after it has ended the stream."""

    def data(self, content: bytes, *, ended: bool) -> None:
        """More came; ``ended``: nothing follows."""

    def gone(self) -> None:
        """The client has given it up, or is not there any more."""

    def slow(self) -> None:
        """The rest of what the client sends has not come in time."""


class Nobody:
    """Before there is a receiver."""

    def data(self, content: bytes, *, ended: bool) -> None:
        """Dropped."""

    def gone(self) -> None:
        """Nothing to do."""

    def slow(self) -> None:
        """Nothing to do."""


NOBODY = Nobody()


class Stream:
    """Open until both sides have ended it. Bytes are written through ``write``."""

    __slots__ = (
        "_pending",
        "_tail",
        "_woken",
        "credit",
        "half_closed",
        "identifier",
        "receiver",
        "since",
        "window",
    )

    def __init__(self, identifier: int, window: int, credit: int, since: float) -> None:
        """``window`` bytes may be sent, ``credit`` bytes may come; ``since`` is when it last got on."""
        self.identifier = identifier
        self.window = window
        self.credit = credit
        self.since = since
        self.half_closed = False
        """Whether the client has sent all."""
        self.receiver: Receiver = NOBODY
        self._pending: deque[memoryview] = deque()
        self._tail: bytes | None = None
        self._woken: asyncio.Future[None] | None = None

    @property
    def waits(self) -> bool:
        """Whether content waits for the client to make room."""
        return bool(self._pending)

    async def drained(self) -> None:
        """Wait until nothing waits."""
        if self._pending:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken

    def wake(self) -> None:
        """Nothing waits any more."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def queue(self, content: bytes, tail: bytes | None) -> None:
        """Send ``content`` when there is room; then, if it is not None, the header block ``tail``, which ends it."""
        if content:
            self._pending.append(memoryview(content))
        self._tail = tail

    def pump(self, room: int, largest: int, write: Callable[[bytes], None]) -> int:
        """Write what there is room for on the connection, in frames of at most ``largest`` bytes; the bytes it took."""
        taken = 0
        while self._pending:
            first = self._pending[0]
            size = min(len(first), largest, room - taken, self.window)
            if size <= 0:
                break
            write(frame(Kind.DATA, 0, self.identifier, bytes(first[:size])))
            taken += size
            self.window -= size
            if size == len(first):
                self._pending.popleft()
            else:
                self._pending[0] = first[size:]
        if not self._pending and self._tail is not None:
            write(frame(Kind.HEADERS, END_HEADERS | END_STREAM, self.identifier, self._tail))
        return taken

    @property
    def is_sent(self) -> bool:
        """Whether this side has ended it, and all has been written."""
        return self._tail is not None and not self._pending
