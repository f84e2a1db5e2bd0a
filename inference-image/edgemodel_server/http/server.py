"""A listening HTTP server, the connections it took, and an end that drops none of them."""

import asyncio
import contextlib
import email.utils
import socket
import ssl

from starlette.types import ASGIApp

from edgemodel_server.access.budget import Budget
from edgemodel_server.http.connection import HEADER_SECONDS, Connection
from edgemodel_server.http.shared import Shared, TryInline

SWEEP_SECONDS = 1.0
"""How often connections are looked through for those that hang; the clock of the header Date, too."""
BACKLOG = 2048


class Server:
    """Serves ``app`` on one socket. Create it in the event loop."""

    def __init__(
        self,
        app: ASGIApp,
        context: ssl.SSLContext | None = None,
        try_inline: TryInline | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Not listening yet. ``context`` None: plain text. ``try_inline`` answers what needs no waiting. ``budget``
        bounds the connections and what they hold by themselves."""
        self._shared = Shared(app, try_inline, budget)
        self._context = context
        self._listener: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket) -> None:
        """Take connections from ``listener``."""
        self._sweep()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=listener,
            ssl=self._context,
            backlog=BACKLOG,
            ssl_handshake_timeout=HEADER_SECONDS if self._context else None,
        )

    async def stop_listening(self, listener: socket.socket) -> None:
        """Refuse new connections; those open are served on.

        The kernel resets connections that it has completed and nobody has accepted yet when their listener closes:
        they are accepted first, in the same breath.
        """
        waiting: list[socket.socket] = []
        with contextlib.suppress(OSError):  # most often: there is none, and waiting is off
            while True:
                waiting.append(listener.accept()[0])
        if self._listener is not None:
            self._listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.setblocking(False)
            with contextlib.suppress(OSError):  # its client may be gone, or fail to speak TLS
                await loop.connect_accepted_socket(self._connection, connection, ssl=self._context)

    async def connections_closed(self, seconds: float) -> bool:
        """Wait until no connection is open, at most ``seconds``; whether that is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._shared.connections:
                    self._shared.emptied.clear()
                    await self._shared.emptied.wait()
        return not self._shared.connections

    async def close(self, seconds: float) -> None:
        """End every connection: at once where no request is under way, or when it is answered, or after ``seconds``."""
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._shared.connections):
            connection.finish()
        if not await self.connections_closed(seconds):
            for connection in tuple(self._shared.connections):
                connection.abort()
        tasks = tuple(self._shared.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _connection(self) -> Connection:
        return Connection(self._shared)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._shared.date = email.utils.formatdate(usegmt=True).encode()
        now = loop.time()
        for connection in tuple(self._shared.connections):
            connection.expire(now)
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep)


def listen(address: tuple[str, int]) -> socket.socket:
    """A listening socket; without a host on all addresses, of IPv6 too where the machine has it.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    host, port = address
    dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=BACKLOG)
    listener.setblocking(False)
    return listener
