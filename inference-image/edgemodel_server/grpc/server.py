"""The gRPC server: its port, credentials and drain. grpcio speaks HTTP/2, in threads of its own."""

import logging
import socket
from collections.abc import Callable
from typing import Any, cast

import grpc

from edgemodel_server.access.tls import Certificates, Material
from edgemodel_server.grpc.connections import ANSWER_SECONDS, MAX_METADATA, Connections
from edgemodel_server.grpc.handlers import Handlers
from edgemodel_server.grpc.library import Server, is_news
from edgemodel_server.grpc.methods import SERVICE, inference_methods
from edgemodel_server.grpc.standard import HEALTH, Health, reflection_methods
from edgemodel_server.http.server import listen
from edgemodel_server.service import Service

PING_AFTER_SECONDS = 300
"""A connection that was silent for so long is asked whether its other end is still there."""
KEEP_ALIVE_TIMEOUT_SECONDS = 20
PING_SECONDS = 10
"""Clients may ask as often as this; who asks more often three times is left."""
CLIENT_IDLE_SECONDS = 300
"""A connection without calls is ended after so long."""
AGE_SECONDS = 3600
"""So is one that is older, when its calls are answered: its client connects again, perhaps to a replica that is new."""
HANDSHAKE_SECONDS = 20
MAX_CONCURRENT_STREAMS = 32
"""Calls of one connection at a time."""
MAX_PENDING_CALLS = 2560
"""Of all connections, that gRPC has read and the event loop has not begun."""
READ_BUFFER = 64 * 1024
"""Bytes that gRPC reads of a connection at a time. Where nothing is said it doubles them with every read that fills
them, without end: hundreds of mebibytes for one connection that sends faster than it is read."""


class GrpcServer:
    """Serves ``service`` at one address. Create it in the event loop."""

    def __init__(self, service: Service, certificates: Certificates | None) -> None:
        """Not listening yet. ``certificates`` None: plain text."""
        self._certificates = certificates
        self._health = Health((SERVICE,))
        self._connections = Connections(service.settings)
        methods = {**inference_methods(service), **self._health.methods(), **reflection_methods((SERVICE, HEALTH))}
        logging.getLogger("grpc._cython.cygrpc").addFilter(is_news)
        self._server = Server(_options(service))
        handlers = Handlers(service, self._connections)
        for path, method in methods.items():
            _, name, method_name = path.split("/")
            self._server.add_registered_method_handlers(name, {method_name: handlers.of(path, method)})

    async def start(self, address: tuple[str, int]) -> int:
        """Start to listen, and return the port.

        Raises:
            OSError: the address is taken or not of this machine.
        """
        host, port = address
        try:
            # gRPC does not say why it cannot listen.
            listen(address).close()
            port = self._listen(f"{_bracketed(host)}:{port}")
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise OSError(f"cannot listen on {host}:{address[1]} for gRPC: {why or error}") from error
        await self._server.start()
        self._connections.start(port)
        return port

    async def set_ready(self, *, ready: bool) -> None:
        """What the health service says, of the server and of the inference service."""
        self._health.set_ready(ready=ready)

    async def stop(self, grace: float) -> None:
        """Refuse new connections, and new calls in those there are; calls begun have ``grace`` seconds to finish."""
        self._health.close()
        await self._server.stop(grace)
        self._connections.close()

    def _listen(self, address: str) -> int:
        certificates = self._certificates
        if certificates is None:
            return int(self._server.add_insecure_port(address))
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(certificates.material),
            cast(Any, _new_configuration(certificates)),  # None is allowed, and means the one before
            require_client_authentication=certificates.material.authority is not None,
        )
        return int(self._server.add_secure_port(address, credentials))


def _options(service: Service) -> list[tuple[str, int]]:
    """https://grpc.github.io/grpc/core/group__grpc__arg__keys.html"""
    seconds = 1000
    settings = service.settings
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.experimental.tcp_max_read_buffer_size", READ_BUFFER),
        ("grpc.max_receive_message_length", settings.max_body),
        ("grpc.max_send_message_length", -1),
        # See ``handlers.unpacked``.
        ("grpc.per_message_decompression", 0),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        # Beyond these, gRPC would cancel calls of anybody, at random.
        ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
        # Between the two, calls would be refused at random.
        ("grpc.max_metadata_size", MAX_METADATA),
        ("grpc.absolute_max_metadata_size", MAX_METADATA),
        ("grpc.keepalive_time_ms", PING_AFTER_SECONDS * seconds),
        ("grpc.keepalive_timeout_ms", KEEP_ALIVE_TIMEOUT_SECONDS * seconds),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * seconds),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", CLIENT_IDLE_SECONDS * seconds),
        ("grpc.max_connection_age_ms", AGE_SECONDS * seconds),
        ("grpc.max_connection_age_grace_ms", int((settings.request_timeout + ANSWER_SECONDS) * seconds)),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * seconds),
    ]


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.authority
    )


def _new_configuration(certificates: Certificates) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """For each handshake, in gRPC's threads: the certificate, where it is another than last time, or else None."""
    used = certificates.material

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        material = certificates.material
        if material is used:
            return None
        used = material
        return _configuration(material)

    return fetch


def _bracketed(host: str) -> str:
    if not host:
        return "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    return f"[{host}]" if ":" in host else host
