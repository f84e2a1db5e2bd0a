"""Many connections at a time, from one thread."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.abuse.sockets import connect


class Crowd:
    """Connections that do not block; what comes back is counted and dropped."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        """None yet, and all to ``port``."""
        self._port, self._receive_buffer = port, receive_buffer
        self.sockets: list[socket.socket] = []
        self.received: dict[socket.socket, int] = {}
        self._first: dict[socket.socket, bytes] = {}

    def join(self, count: int, content: bytes = b"") -> None:
        """``count`` further connections, each of which sends ``content`` at once."""
        for _ in range(count):
            client = connect(self._port, 20, self._receive_buffer)
            client.setblocking(False)
            self.sockets.append(client)
            if content:
                self._send(client, content)

    def send(self, content: bytes) -> None:
        """To each connection that still takes it."""
        for client in self.sockets:
            self._send(client, content)

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """What comes within ``seconds``, or until ``until`` holds; those that end leave ``sockets``."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for joined in self.sockets:
                selector.register(joined, selectors.EVENT_READ, joined)
            while selector.get_map() and (rest := deadline - time.monotonic()) > 0 and not until():
                for key, _ in selector.select(min(rest, 0.1)):
                    client: socket.socket = key.data
                    content = b""
                    with suppress(OSError):
                        content = client.recv(1 << 16)
                    if not content:
                        selector.unregister(client)
                        self.sockets.remove(client)
                        client.close()
                        continue
                    self.received[client] = self.received.get(client, 0) + len(content)
                    self._first.setdefault(client, content[:16])

    def statuses(self) -> list[int]:
        """Of each connection that was answered, the first."""
        return [int(first.split()[1]) for first in self._first.values()]

    def close(self) -> None:
        """End all."""
        for client in self.sockets:
            client.close()

    @staticmethod
    def _send(client: socket.socket, content: bytes) -> None:
        with suppress(OSError):
            client.send(content)


@contextmanager
def crowd(port: int, receive_buffer: int | None = None) -> Iterator[Crowd]:
    """A crowd that ends with the block."""
    crowd = Crowd(port, receive_buffer)
    try:
        yield crowd
    finally:
        crowd.close()
