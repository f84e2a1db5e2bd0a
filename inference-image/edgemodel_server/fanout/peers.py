"""The other replicas of the site: who they are by DNS, and how one is asked to compute a part."""

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence

from edgemodel_server.fanout.exchange import Connection, ExchangeError, Response

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 3.0
"""Names are looked up when a request could be spread, and not more often."""
OLD_SECONDS = 30.0
"""What was found longer ago is not used: a site may have other replicas by now."""
FIRST_SECONDS = 0.1
"""Where nothing is known, the request that has the name looked up waits this long for it; no other waits."""
REST_SECONDS = 5.0
"""A peer that failed is not asked for so long."""
CONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0
"""A connection idle for longer is not used again: well before the server's side would close it."""
MAX_PARTS_PER_PEER = 2
"""Of one peer under way at a time."""

Address = tuple[str, int]
Lookup = Callable[[], Awaitable[Collection[Address]]]


class Peer:
    """One other replica. Times are of ``time.monotonic``."""

    def __init__(self, address: Address) -> None:
        """A peer without connections."""
        self.address = address
        self._parts = 0
        self._rests_until = float("-inf")
        self._idle: deque[tuple[Connection, float]] = deque()
        self._gone = False

    def __str__(self) -> str:
        """The peer's address, for the log."""
        return f"peer {self.address[0]}"

    def free(self, now: float) -> bool:
        """Whether the peer may be asked for a part."""
        return self._parts < MAX_PARTS_PER_PEER and now >= self._rests_until

    def rest(self, now: float) -> None:
        """Leave the peer alone for a time: it failed."""
        self._rests_until = now + REST_SECONDS

    async def post(
        self,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        parts: Sequence[bytes | memoryview],
        limit: int,
        context: ssl.SSLContext | None,
    ) -> Response:
        """As ``Connection.post``, over a connection that is kept for the next.

        Raises:
            ExchangeError: no answer.
        """
        self._parts += 1
        try:
            connection = self._kept() or await self._connect(context)
            response = await connection.post(path, headers, parts, limit)
            if self._gone:
                connection.close()
            elif connection.usable:
                self._idle.append((connection, time.monotonic()))
            return response
        finally:
            self._parts -= 1

    def close(self) -> None:
        """Close what is idle, and what is under way when it is through."""
        self._gone = True
        while self._idle:
            self._idle.pop()[0].close()

    def _kept(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.usable and time.monotonic() - since < IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self, context: ssl.SSLContext | None) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await Connection.open(*self.address, context)
        except TimeoutError as error:
            raise ExchangeError(f"no connection within {CONNECT_SECONDS:g} seconds") from error


class Peers:
    """Those that ``lookup`` finds. All methods are for the event loop's thread."""

    def __init__(self, lookup: Lookup) -> None:
        """The peers of a site, none of which is known yet."""
        self._lookup = lookup
        self._peers: dict[Address, Peer] = {}
        self._turn = 0
        self._found = self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None

    async def free(self) -> list[Peer]:
        """Those that may be asked for a part now, each in its turn the first.

        A lookup that takes long, or fails, holds no request up.
        """
        now = time.monotonic()
        if self._looking is None and now - self._looked >= REFRESH_SECONDS:
            self._looking = asyncio.create_task(self._look())
            if now - self._found > OLD_SECONDS:
                await asyncio.wait({self._looking}, timeout=FIRST_SECONDS)
                now = time.monotonic()
        if now - self._found > OLD_SECONDS:
            return []
        free = deque(peer for peer in self._peers.values() if peer.free(now))
        self._turn += 1
        free.rotate(self._turn)
        return list(free)

    def close(self) -> None:
        """Close all connections that are idle, and look for nobody any more."""
        if self._looking:
            self._looking.cancel()
        for peer in self._peers.values():
            peer.close()

    async def _look(self) -> None:
        try:
            found = set(await self._lookup())
        except OSError as error:
            logger.warning("cannot look up the site's other replicas (%s); large batches stay here", error)
        else:
            for address in self._peers.keys() - found:
                self._peers.pop(address).close()
            for address in sorted(found - self._peers.keys()):
                self._peers[address] = Peer(address)
            self._found = time.monotonic()
        finally:
            self._looked = time.monotonic()
            self._looking = None


def lookup_of(host: str, port: int) -> Lookup:
    """The addresses that DNS has for ``host``, without this machine's own; all listen on ``port``."""

    async def look() -> list[Address]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(str(address[0]), port) for family, *_, address in found if not is_own(family, str(address[0]))]

    return look


def is_own(family: int, host: str) -> bool:
    """Whether ``host`` is an address of this machine: only to its own does a machine send from the same.

    Nothing is sent: to connect a datagram socket chooses a route.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == host)
