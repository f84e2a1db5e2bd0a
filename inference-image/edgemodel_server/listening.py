"""uvicorn as this server uses it: on a socket that is there already, without its signals, and with an end that drops
no connection."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from edgemodel_server.connections import Connection
from edgemodel_server.tls import Certificates

KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time after which common clients and proxies close, so that it is they who close first."""
POLL_SECONDS = 0.02
BACKLOG = 2048


class Server(uvicorn.Server):
    """One HTTP server. Signals are left to the process: uvicorn's own handlers would end it by the signal."""

    def __init__(self, app: ASGIApp, certificates: Certificates | None, shutdown: float) -> None:
        """``certificates`` None: plain text. ``shutdown``: seconds that requests have to finish at the end."""
        self._certificates = certificates
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(shutdown)),
                ssl_context_factory=(lambda *_: certificates.context) if certificates else None,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def stop_listening(self, listener: socket.socket) -> None:
        """Refuse new connections; those open are served on.

        The kernel resets connections that it has completed and nobody has accepted yet when their listener closes:
        they are accepted first, in the same breath.
        """
        waiting: list[socket.socket] = []
        with contextlib.suppress(OSError):  # most often: there is none, and waiting is off
            while True:
                waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.setblocking(False)
            with contextlib.suppress(OSError):  # its client may be gone, or fail to speak TLS
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        return Connection(config=self.config, server_state=self.server_state, app_state={})

    async def connections_closed(self, seconds: float) -> None:
        """Wait until no connection is open, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        # uvicorn tells nobody when a connection closes.
        while self.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


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
