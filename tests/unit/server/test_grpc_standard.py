"""Health and reflection, with the standard clients' stubs."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from edgemodel_server.grpc.methods import SERVICE
from edgemodel_server.grpc.standard import REFLECTION
from tests.unit.server.http2 import INVALID_ARGUMENT, OK, Serving, message

HEALTH = "grpc.health.v1.Health"
Status = health_pb2.HealthCheckResponse


async def test_health_is_told_of_the_server_and_of_its_service(served: Callable[..., Any]) -> None:
    serving: Serving = await served()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="none"))
        assert (await watching.read()).status == Status.NOT_SERVING
        assert (await unknown.read()).status == Status.SERVICE_UNKNOWN
        for ready in (True, False):
            await serving.server.set_ready(ready=ready)
            status = Status.SERVING if ready else Status.NOT_SERVING
            assert (await watching.read()).status == status
            for name in ("", SERVICE):
                assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == status
        watching.cancel()
        with pytest.raises(grpc.aio.AioRpcError, match="there is no service 'none' here") as refusal:
            await health.Check(health_pb2.HealthCheckRequest(service="none"))
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("reflection", REFLECTION)
async def test_reflection_describes_every_service(served: Callable[..., Any], reflection: str) -> None:
    serving: Serving = await served()
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="none"),
    ]

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        for request in asked:
            yield request

    async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        info = channel.stream_stream(
            f"/{reflection}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        listed, found, missing = [answer async for answer in info(ask())]
    assert {service.name for service in listed.list_services_response.service} == {SERVICE, HEALTH, *REFLECTION}
    assert b"ModelInferRequest" in found.file_descriptor_response.file_descriptor_proto[0]
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_who_watches_is_left_when_the_server_ends(served: Callable[..., Any]) -> None:
    serving: Serving = await served()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == Status.NOT_SERVING
        await serving.server.stop(3600)
        assert await watching.read() is grpc.aio.EOF


@pytest.mark.parametrize("path", [f"/{HEALTH}/Watch", *(f"/{name}/ServerReflectionInfo" for name in REFLECTION)])
async def test_a_stream_of_no_messages_is_refused(served: Callable[..., Any], path: str) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(b"\xff"), __path=path))
    assert (await raw.answer(1)).status[0] == INVALID_ARGUMENT
    raw.send(raw.call(3, b"", __path=path))
    assert (await raw.answer(3)).status == (OK, "")
