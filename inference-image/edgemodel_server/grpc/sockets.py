"""The sockets that gRPC's library has opened in this process, by their other end: it gives none of them away."""

import contextlib
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from edgemodel_server.grpc.call import address_of

_DESCRIPTORS = Path("/dev/fd")
_BYTES_RECEIVED = struct.Struct("=128xQ")
"""In Linux's struct tcp_info."""

Told = TypeVar("Told")


class Sockets:
    """Connections to one port of this process. A descriptor may have been closed and be another's by now: what is
    known of it is checked at every use."""

    def __init__(self, port: int = 0) -> None:
        """The sockets of a port, none of which is known yet."""
        self._port = port
        self._known: dict[tuple[str, int], int] = {}
        self._gone: set[str] = set()
        """Peers that were asked for last time and have no socket: they are not looked for again."""

    def received(self, peers: Iterable[str]) -> dict[str, int]:
        """Bytes that have come from each of ``peers``, as gRPC writes them, but those that have gone. Nothing where the
        system does not say. All descriptors are looked through once at most, however many peers are new."""
        if not hasattr(socket, "TCP_INFO"):
            return {}
        missing = set(peers)
        self._gone &= missing
        missing -= self._gone
        found = self._received(missing)
        missing -= found.keys()
        if missing:
            self._known = self._connections()
            found |= self._received(missing)
            self._gone |= missing - found.keys()
        return found

    def shut(self, peer: str) -> bool:
        """End the connection to ``peer``; whether there was one. gRPC notices, and gives up its calls."""
        end = _end_of(peer)
        if self._shut(end):
            return True
        self._known = self._connections()
        return self._shut(end)

    def _shut(self, end: tuple[str, int]) -> bool:
        try:
            copy = os.dup(self._known.get(end, -1))
        except OSError:
            return False
        # Of the copy it is certain whose it is until it is closed.
        try:
            return _ask(copy, partial(self._shut_if, end)) is True
        finally:
            os.close(copy)

    def _shut_if(self, end: tuple[str, int], connection: socket.socket) -> bool:
        if self._end(connection) != end:
            return False
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        return True

    def _received(self, peers: Iterable[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for peer in peers:
            end = _end_of(peer)
            count = _ask(self._known.get(end, -1), partial(self._count, end))
            if count is not None:
                found[peer] = count
        return found

    def _count(self, end: tuple[str, int], connection: socket.socket) -> int | None:
        information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        if self._end(connection) != end or len(information) < _BYTES_RECEIVED.size:
            return None
        received: int = _BYTES_RECEIVED.unpack(information)[0]
        return received

    def _connections(self) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208
            end = _ask(int(name), self._end)
            if end is not None:
                found[end] = int(name)
        return found

    def _end(self, connection: socket.socket) -> tuple[str, int] | None:
        """The other end of a connection to this port; None if it is none."""
        try:
            here = connection.getsockname()
            if not isinstance(here, tuple) or here[1] != self._port:
                return None
            there = connection.getpeername()
        except OSError:
            return None
        return _normal(there[0]), there[1]


def _ask(descriptor: int, question: Callable[[socket.socket], Told | None]) -> Told | None:
    """What ``question`` finds of a descriptor, which stays gRPC's; None where it is no socket. To ask a copy of each
    would take twice as long."""
    if descriptor < 0:
        return None
    try:
        borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        return None
    try:
        return question(borrowed)
    except OSError:
        return None
    finally:
        borrowed.detach()


def _end_of(peer: str) -> tuple[str, int]:
    host, port = address_of(peer)
    return _normal(host), port


@lru_cache(4096)
def _normal(host: str) -> str:
    """An address of IPv4 in the form of IPv6 as itself, as gRPC writes it."""
    address = ipaddress.ip_address(host.partition("%")[0] or "::")
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address)
