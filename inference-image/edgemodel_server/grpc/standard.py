"""The standard services beside the protocol's own: health and reflection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from edgemodel_server.errors import BadRequestError
from edgemodel_server.grpc.call import Call, StatusError, Streaming, Unary

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name

_Status = health_pb2.HealthCheckResponse


class Health:
    """``grpc.health.v1.Health``, of the server as a whole, by the name "", and of its services."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """None is ready."""
        self._ready = dict.fromkeys(("", *names), False)
        self._changed = asyncio.Event()

    def set_ready(self, *, ready: bool) -> None:
        """Say it of all, to those who watch, too."""
        self._ready = dict.fromkeys(self._ready, ready)
        self._changed.set()
        self._changed = asyncio.Event()

    def unary(self) -> Mapping[bytes, Unary]:
        """By path."""
        return {f"/{HEALTH}/Check".encode(): self._check}

    def streaming(self) -> Mapping[bytes, Streaming]:
        """By path."""
        return {f"/{HEALTH}/Watch".encode(): self._watch}

    async def _check(self, content: bytes, _: Call) -> bytes:
        name = read(health_pb2.HealthCheckRequest, content).service
        if name not in self._ready:
            raise StatusError(grpc.StatusCode.NOT_FOUND, f"there is no service {name[:80]!r} here")
        return _Status(status=self._status(name)).SerializeToString()

    async def _watch(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for content in messages:
            name = _read_streamed(health_pb2.HealthCheckRequest, content).service
            last = None
            while True:
                changed, status = self._changed, self._status(name)
                if status != last:
                    yield _Status(status=status).SerializeToString()
                    last = status
                await changed.wait()

    def _status(self, name: str) -> Any:
        ready = self._ready.get(name)
        if ready is None:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if ready else _Status.NOT_SERVING


def reflection_methods(names: tuple[str, ...]) -> Mapping[bytes, Streaming]:
    """``grpc.reflection.v1alpha.ServerReflection`` of the services, as grpcio-reflection answers it."""
    servicer: Any = reflection.aio.ReflectionServicer(service_names=names)

    async def answers(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            async for content in messages:
                yield _read_streamed(reflection_pb2.ServerReflectionRequest, content)

        async for answer in servicer.ServerReflectionInfo(requests(), None):
            yield answer.SerializeToString()

    return {f"/{REFLECTION}/ServerReflectionInfo".encode(): answers}


def read(kind: Any, content: bytes) -> Any:
    """A message of that kind. Raises BadRequestError if it is none."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise BadRequestError(f"the message is not a {kind.DESCRIPTOR.full_name}") from error


def _read_streamed(kind: Any, content: bytes) -> Any:
    try:
        return read(kind, content)
    except BadRequestError as error:
        raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
