"""Health and reflection, with the standard clients' stubs, and as streams frame by frame."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from edgemodel_server.grpc.call import MOST_WAITING
from edgemodel_server.grpc.methods import SERVICE
from tests.unit.server.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    RESOURCE_EXHAUSTED,
    RST_STREAM,
    STREAM_CLOSED,
    Serving,
    expected,
    frame,
    message,
)

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
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


async def test_reflection_describes_every_service(served: Callable[..., Any]) -> None:
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
        make: Any = reflection_pb2_grpc.ServerReflectionStub
        stub = make(channel)
        listed, found, missing = [answer async for answer in stub.ServerReflectionInfo(ask())]
    assert {service.name for service in listed.list_services_response.service} == {SERVICE, HEALTH, REFLECTION}
    assert b"ModelInferRequest" in found.file_descriptor_response.file_descriptor_proto[0]
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_stream_of_answers_waits_for_room_and_ends_with_its_client(served: Callable[..., Any]) -> None:
    serving: Serving = await served()
    raw = await serving.open((4, 3))
    raw.send(raw.call(1, message(b""), __path=f"/{HEALTH}/Watch"))
    assert (await raw.until(DATA, 1)).content == message(Status(status=Status.NOT_SERVING).SerializeToString())[:3]
    raw.send(frame(8, 0, 1, (100).to_bytes(4, "big")))
    assert len((await raw.until(DATA, 1)).content) == 4
    await serving.server.set_ready(ready=True)
    assert (await raw.until(DATA, 1)).content == message(Status(status=Status.SERVING).SerializeToString())
    raw.send(frame(DATA, 0, 1, b"more"))
    assert (await raw.answer(1)).reset == STREAM_CLOSED


async def test_messages_of_a_stream_that_wait_are_bounded(served: Callable[..., Any]) -> None:
    serving: Serving = await served()
    raw = await serving.open()
    request = message(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    path = f"/{REFLECTION}/ServerReflectionInfo"
    raw.send(raw.call(1, request * MOST_WAITING, __path=path))
    assert (await raw.answer(1)).status == (0, "")
    raw.send(frame(HEADERS, END_HEADERS, 3, raw.block(__path=path)), frame(DATA, 0, 3, request * 200))
    assert (await raw.answer(3)).status[0] == RESOURCE_EXHAUSTED
    assert (await raw.until(RST_STREAM, 3)).number == 0
    assert await expected(raw, 5)


@pytest.mark.parametrize("path", [f"/{HEALTH}/Watch", f"/{REFLECTION}/ServerReflectionInfo"])
async def test_a_stream_of_no_messages_is_refused(served: Callable[..., Any], path: str) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(b"\xff"), __path=path))
    answer = await raw.answer(1)
    assert answer.status[0] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, raw.block(__path=path)), frame(PING, 0, 0, bytes(8)))
    assert (await raw.until(PING)).content == bytes(8)
