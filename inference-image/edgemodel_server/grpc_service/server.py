"""The gRPC server: its port, limits, credentials and drain."""

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from edgemodel_server.grpc_service.methods import SERVICE, handlers
from edgemodel_server.service import Service
from edgemodel_server.tls import Certificates

MAX_CONCURRENT_STREAMS = 256
"""Calls at a time in one connection: what a client sends beyond it waits at the client."""


class GrpcServer:
    """Serves ``service`` at one address. Create it in the event loop."""

    def __init__(self, service: Service, certificates: Certificates | None) -> None:
        """Not listening yet. ``certificates`` None: plain text."""
        limit = service.settings.max_body
        self._certificates = certificates
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._server.add_generic_rpc_handlers((handlers(service),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, address: tuple[str, int]) -> int:
        """Listen; the port.

        Raises:
            OSError: the address is taken or not of this machine.
        """
        host, port = address
        where = f"[{host}]:{port}" if ":" in host else f"{host or '[::]'}:{port}"
        try:
            if self._certificates is None:
                bound = self._server.add_insecure_port(where)
            else:
                bound = self._server.add_secure_port(where, self._certificates.grpc_credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {where} for gRPC") from error
        await self.set_ready(ready=False)
        await self._server.start()
        return bound

    async def set_ready(self, *, ready: bool) -> None:
        """What the health service says, of the server and of the inference service."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """Refuse new calls; those begun have ``grace`` seconds to finish."""
        await self._server.stop(grace)
