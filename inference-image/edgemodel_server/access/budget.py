"""What clients may hold of the server at a time: memory, requests in work, time of decoding, connections.

Each is taken before it is spent and given back when it is done with. Nobody may take all of it: a client holds at most
twice what is left free. So a client that is alone has two thirds of everything, and one that comes late finds something
left, whatever those before it do. (These are the dynamic thresholds by which switches share their buffers: Choudhury
and Hahne, 1998.)
"""

import ipaddress
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

from edgemodel_server.errors import (
    BusyDecodingError,
    ClientShareError,
    DeadlineError,
    MemoryFullError,
    OverloadedError,
    TooLargeError,
)

CLIENT_FACTOR = 2.0
"""A client holds at most this many times what is left free."""
CONNECTION_FACTOR = 1.0
"""The same of the memory that one of its connections holds."""
BODIES = 3
"""The memory has room for at least so many of the largest bodies: a share of it must hold one."""
IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell clients apart: whoever has one address has all that share them."""
DUST = 1e-9
"""Less than this is what rounding leaves of sums of seconds."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of all clients together: bytes held, requests in work, seconds of decoding ahead, open connections."""

    memory: int
    requests: int
    decoding: float
    connections: int


class Pool:
    """One resource, of which ``total`` is there. Thread-safe. Clients are told apart by their names, connections by
    anything that identifies one.

    ``least``: so much anybody may hold while there is any. ``connection_factor``: CONNECTION_FACTOR of this resource.
    """

    def __init__(self, total: float, *, least: float = 0.0, connection_factor: float = CLIENT_FACTOR) -> None:
        """All of it is free."""
        self.total = total
        self._least = least
        self._connection_factor = connection_factor
        self._lock = threading.Lock()
        self._used = 0.0
        self._clients: dict[Hashable, float] = {}
        self._connections: dict[Hashable, float] = {}

    @property
    def used(self) -> float:
        """What is held now, by all."""
        return self._used

    @property
    def largest(self) -> float:
        """The most that one connection may hold, where nobody else holds anything."""
        factor = min(CLIENT_FACTOR, self._connection_factor)
        return max(min(self._least, self.total), self.total * factor / (1 + factor))

    def take(self, amount: float, client: str, connection: Hashable, *, beside: float = 0.0) -> str | None:
        """Take ``amount`` for one of the connections of ``client``, for a purpose that holds ``beside`` already. None:
        it is taken. Or else nothing is, because of ``"server"``: others hold too much; ``"client"``: it holds too much
        itself; ``"size"``: this purpose could never have so much."""
        with self._lock:
            of_client = self._clients.get(client, 0.0) + amount
            of_connection = self._connections.get(connection, 0.0) + amount
            if self._fits(of_client, of_connection, self._used + amount):
                self._used += amount
                self._clients[client] = of_client
                self._connections[connection] = of_connection
                return None
        whole = amount + beside
        if not self._fits(whole, whole, whole):
            return "size"
        return "server" if self._fits(of_client, of_connection, of_client) else "client"

    def give(self, amount: float, client: str, connection: Hashable) -> None:
        """Give back what was taken so."""
        with self._lock:
            self._used -= amount
            _subtract(self._clients, client, amount)
            _subtract(self._connections, connection, amount)
            if not self._clients:
                self._used = 0.0

    def _fits(self, of_client: float, of_connection: float, used: float) -> bool:
        free = self.total - used
        if free < 0:
            return False
        is_share = of_client <= CLIENT_FACTOR * free and of_connection <= self._connection_factor * free
        return is_share or of_client <= self._least


class Budget:
    """All that clients may hold of this server. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        """Nothing is held yet."""
        self.memory = Pool(limits.memory, connection_factor=CONNECTION_FACTOR)
        self.requests = Pool(limits.requests, least=1)
        self.decoding = Pool(limits.decoding)
        self.connections = Pool(limits.connections, least=1)

    def lease(self, client: str, connection: Hashable) -> "Lease":
        """For one request that ``client`` (the name of its key, or ``client_of`` its address) sent on ``connection``
        (a number or an object). Close it, or leave it as a context, when the answer is written."""
        return Lease(self, client, connection)


class Lease:
    """What one request holds; all of it is given back when it is closed, and nothing can be taken after that: a thread
    may still be at work for a client that has gone. Thread-safe."""

    __slots__ = ("_budget", "_client", "_connection", "_held", "_is_closed", "_lock")

    def __init__(self, budget: Budget, client: str, connection: Hashable) -> None:
        """Nothing is held yet."""
        self._budget = budget
        self._client = client
        self._connection = connection
        self._held = 0
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes."""
        return self._held

    def hold(self, size: int) -> None:
        """Take ``size`` bytes of memory, before they are there.

        Raises:
            TooLargeError: no request may have so much.
            ClientShareError: the client holds its share already.
            MemoryFullError: all clients together hold too much.
            DeadlineError: the request has ended.
        """
        pool = self._budget.memory
        with self._lock:
            if self._is_closed:
                raise DeadlineError("the request has ended, and with it what it may hold")
            held = self._held
            cause = pool.take(size, self._client, self._connection, beside=held)
            if cause is None:
                self._held += size
                return
        if cause == "size":
            raise TooLargeError(
                f"the request needs {held + size} bytes of memory at once and may have {int(pool.largest)}; "
                "send less, or raise EDGEMODEL_MAX_BUFFERED"
            )
        if cause == "client":
            raise ClientShareError(
                "your other requests hold this client's share of the server's memory; read their answers first, "
                "or send fewer at a time"
            )
        raise MemoryFullError("requests and answers fill the memory set aside for them; try again in a moment")

    def release(self, size: int) -> None:
        """Give ``size`` bytes back: they are no longer there."""
        with self._lock:
            if self._is_closed:
                return
            self._held -= size
        self._budget.memory.give(size, self._client, self._connection)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While one inference waits for a worker or is computed.

        Raises:
            ClientShareError: as many of the client's are as may be.
            OverloadedError: as many of all clients are as may be.
        """
        pool = self._budget.requests
        cause = pool.take(1, self._client, self._connection)
        if cause == "client":
            raise ClientShareError("your other requests fill this client's share of the queue; send fewer at a time")
        if cause is not None:
            raise OverloadedError(f"{int(pool.used)} requests are computed or waiting already; try again in a moment")
        try:
            yield
        finally:
            pool.give(1, self._client, self._connection)

    @contextmanager
    def decoding(self, seconds: float) -> Iterator[None]:
        """While a body waits to be decoded and is decoded, which takes about so many ``seconds``.

        Raises:
            ClientShareError: the client has its share of decoding ahead already.
            BusyDecodingError: all clients together have too much ahead.
        """
        pool = self._budget.decoding
        # An estimate never keeps a request out for good: one that takes longest is let in where nothing else is ahead.
        seconds = min(seconds, pool.largest)
        cause = pool.take(seconds, self._client, self._connection)
        if cause == "client":
            raise ClientShareError(
                "your other requests fill this client's share of the time for reading bodies; send fewer at a time"
            )
        if cause is not None:
            raise BusyDecodingError(
                f"the bodies to be read first take about {pool.used:.1f} seconds; try again in a moment", pool.used
            )
        try:
            yield
        finally:
            pool.give(seconds, self._client, self._connection)

    def close(self) -> None:
        """Give everything back. More than once does no harm."""
        with self._lock:
            size, self._held, self._is_closed = self._held, 0, True
        if size:
            self._budget.memory.give(size, self._client, self._connection)

    def __enter__(self) -> "Lease":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


@lru_cache(4096)
def client_of(address: str) -> str:
    """The client behind an IP address, where it shows no key: the address, of IPv6 the network of its first 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), IPV6_PREFIX), strict=False))


def _subtract(held: dict[Hashable, float], key: Hashable, amount: float) -> None:
    left = held.get(key, 0.0) - amount
    if left > DUST:
        held[key] = left
    else:
        held.pop(key, None)
