"""The standard services beside the protocol's own: health and reflection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from edgemodel_server.errors import BadRequestError, NotFoundError, shown
from edgemodel_server.grpc.call import Call
from edgemodel_server.grpc.handlers import Method, StreamingMethod, UnaryMethod

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""The same messages under two names: the second is the older one, which many clients still use alone."""

_Status = health_pb2.HealthCheckResponse


class Health:
    """``grpc.health.v1.Health``, of the server as a whole, by the name "", and of its services."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """A health service by which nothing is ready."""
        self._ready = dict.fromkeys(("", *names), False)
        self._changed = asyncio.Event()
        self._closed = False

    def set_ready(self, *, ready: bool) -> None:
        """Set the health of the server and of all services, and tell those who watch."""
        self._ready = dict.fromkeys(self._ready, ready)
        self._wake()

    def close(self) -> None:
        """End the streams of those who watch: they would keep the server from ending."""
        self._closed = True
        self._wake()

    def methods(self) -> Mapping[str, Method]:
        """The methods of the health service, by path."""
        # Load balancers have no key.
        return {
            f"/{HEALTH}/Check": UnaryMethod(self._check, is_open=True),
            f"/{HEALTH}/Watch": StreamingMethod(self._watch, is_open=True),
        }

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _check(self, content: bytes, _: Call) -> bytes:
        name = read(health_pb2.HealthCheckRequest, content).service
        if name not in self._ready:
            raise NotFoundError(f"there is no service {shown(name)} here")
        return _Status(status=self._status(name)).SerializeToString()

    async def _watch(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for content in messages:
            name = read(health_pb2.HealthCheckRequest, content).service
            last = None
            while not self._closed:
                changed, status = self._changed, self._status(name)
                if status != last:
                    yield _Status(status=status).SerializeToString()
                    last = status
                    continue  # it may have changed meanwhile
                await changed.wait()
            return

    def _status(self, name: str) -> Any:
        ready = self._ready.get(name)
        if ready is None:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if ready else _Status.NOT_SERVING


def reflection_methods(names: tuple[str, ...]) -> Mapping[str, Method]:
    """``ServerReflection`` of the services and of itself, as grpcio-reflection answers it."""
    servicer: Any = reflection.aio.ReflectionServicer(service_names=(*names, *REFLECTION))

    async def answers(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            async for content in messages:
                yield read(reflection_pb2.ServerReflectionRequest, content)

        async for answer in servicer.ServerReflectionInfo(requests(), None):
            yield answer.SerializeToString()

    return {f"/{name}/ServerReflectionInfo": StreamingMethod(answers) for name in REFLECTION}


def read(kind: Any, content: bytes) -> Any:
    """A message of that kind. Raises BadRequestError if it is none."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise BadRequestError(f"the message is not a {kind.DESCRIPTOR.full_name}") from error
