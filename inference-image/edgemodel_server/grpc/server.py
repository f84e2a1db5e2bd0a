"""The gRPC server: its port, credentials and drain."""

import asyncio
import contextlib
import socket

from edgemodel_server.access.tls import Certificates
from edgemodel_server.grpc.call import Call, Methods
from edgemodel_server.grpc.connection import START_SECONDS, Connection
from edgemodel_server.grpc.headers import Headers
from edgemodel_server.grpc.methods import SERVICE, inference_methods
from edgemodel_server.grpc.standard import HEALTH, REFLECTION, Health, reflection_methods
from edgemodel_server.grpc.stream import Stream
from edgemodel_server.http.server import listen
from edgemodel_server.service import Service

KEEP_ALIVE_SECONDS = 300
"""A connection that was silent for so long is asked whether its other end is still there."""


class GrpcServer:
    """Serves ``service`` at one address. Create it in the event loop."""

    def __init__(self, service: Service, certificates: Certificates | None) -> None:
        """Not listening yet. ``certificates`` None: plain text."""
        self._service = service
        self._certificates = certificates
        self._health = Health((SERVICE,))
        reflected = reflection_methods((SERVICE, HEALTH, REFLECTION))
        self._methods = Methods(
            unary={**inference_methods(service), **self._health.unary()},
            streaming={**self._health.streaming(), **reflected},
        )
        self._connections: set[Connection] = set()
        self._closed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, address: tuple[str, int]) -> int:
        """Listen; the port.

        Raises:
            OSError: the address is taken or not of this machine.
        """
        try:
            listener = listen(address)
        except OSError as error:
            host, port = address
            raise OSError(f"cannot listen on {host}:{port} for gRPC: {error.strerror or error}") from error
        # Connections inherit it: a client that vanished without a word is noticed.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_SECONDS)
        context = self._certificates.grpc_context if self._certificates else None
        self._server = await asyncio.get_running_loop().create_server(
            self._connection,
            sock=listener,
            ssl=context,
            ssl_handshake_timeout=START_SECONDS if context else None,
        )
        port_bound: int = listener.getsockname()[1]
        return port_bound

    async def set_ready(self, *, ready: bool) -> None:
        """What the health service says, of the server and of the inference service."""
        self._health.set_ready(ready=ready)

    async def stop(self, grace: float) -> None:
        """Refuse new connections, and new calls in those there are; calls begun have ``grace`` seconds to finish."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._connections:
                    self._closed.clear()
                    await self._closed.wait()
        for connection in list(self._connections):
            connection.abort()
        self._server = None

    def _connection(self) -> Connection:
        return Connection(self._accept, self._service.settings.body_timeout, self._opened, self._lost)

    def _accept(self, connection: Connection, stream: Stream, headers: Headers) -> None:
        Call(self._service, self._methods, connection, stream, headers)

    def _opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._closed.set()
