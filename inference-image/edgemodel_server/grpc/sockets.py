"""The sockets that gRPC's library has opened in this process, by their other end: it gives none of them away."""

import contextlib
import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from edgemodel_server.grpc.call import address_of

_DESCRIPTORS = Path("/dev/fd")
_BYTES_RECEIVED = struct.Struct("=128xQ")
"""In Linux's struct tcp_info."""


class Sockets:
    """Connections to one port of this process. A descriptor may have been closed and be another's by now: what is
    known of it is checked at every use, on a copy of it."""

    def __init__(self, port: int = 0) -> None:
        """The sockets of a port, none of which is known yet."""
        self._port = port
        self._known: dict[tuple[str, int], int] = {}

    def received(self, peer: str) -> int | None:
        """Bytes that have come from ``peer``, as gRPC writes it; None where it has gone, or the system does not say."""
        with self._socket(peer) as found:
            if found is None or not hasattr(socket, "TCP_INFO"):
                return None
            information = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        if len(information) < _BYTES_RECEIVED.size:
            return None
        received: int = _BYTES_RECEIVED.unpack(information)[0]
        return received

    def shut(self, peer: str) -> bool:
        """End the connection to ``peer``; whether there was one. gRPC notices, and gives up its calls."""
        with self._socket(peer) as found:
            if found is None:
                return False
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            return True

    @contextlib.contextmanager
    def _socket(self, peer: str) -> Iterator[socket.socket | None]:
        end = _normal(*address_of(peer))
        found = self._copy(self._known.get(end, -1), end)
        if found is None:
            self._known = self._connections()
            found = self._copy(self._known.get(end, -1), end)
        if found is None:
            yield None
            return
        with found:
            yield found

    def _copy(self, descriptor: int, end: tuple[str, int]) -> socket.socket | None:
        """A copy of the descriptor, if that is a connection to this ``end``."""
        if descriptor < 0:
            return None
        try:
            copy = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            return None
        if self._end(copy) == end:
            return copy
        copy.close()
        return None

    def _connections(self) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208
            with contextlib.suppress(OSError):
                descriptor = int(name)
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    with socket.socket(fileno=os.dup(descriptor)) as copy:
                        end = self._end(copy)
                    if end is not None:
                        found[end] = descriptor
        return found

    def _end(self, connection: socket.socket) -> tuple[str, int] | None:
        """The other end of a connection to this port; None if it is none."""
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        try:
            here, there = connection.getsockname(), connection.getpeername()
        except OSError:
            return None
        return _normal(*there[:2]) if here[1] == self._port else None


def _normal(host: str, port: int) -> tuple[str, int]:
    """An address of IPv4 in the form of IPv6 as itself, as gRPC writes it."""
    address = ipaddress.ip_address(host.partition("%")[0] or "::")
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(mapped or address), port
