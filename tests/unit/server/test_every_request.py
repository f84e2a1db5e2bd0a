"""Every route of REST and every method of gRPC: who has no key is refused, in the error's form, logged and counted."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from edgemodel_contract.serving import LIVE_PATH, READY_PATH, REQUEST_DURATION_METRIC
from edgemodel_server.grpc import open_inference_pb2
from edgemodel_server.grpc.methods import SERVICE
from edgemodel_server.grpc.standard import HEALTH, REFLECTION
from edgemodel_server.http.app import App
from edgemodel_server.http.server import Server, listen
from edgemodel_server.page.openapi import document, operations
from edgemodel_server.service import Service
from tests.unit.server.builders import mlp
from tests.unit.server.conftest import client_of
from tests.unit.server.test_infer import ROW

ORIGIN = "https://app.example"
LOG = "edgemodel_server.observability.access_log"
OPEN_PATHS = {LIVE_PATH, READY_PATH}
"""Load balancers and the kubelet have no key."""
OPEN_METHODS = {f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", f"/{HEALTH}/Check", f"/{HEALTH}/Watch"}


@pytest.fixture
def service(new_service: Callable[..., Service], load: Callable[[Service], None], tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice").write_text("alice-key")
    made = new_service(
        mlp(),
        {
            "EDGEMODEL_AUTH_DIR": str(tmp_path / "keys"),
            "EDGEMODEL_ACCESS_LOG": "true",
            "EDGEMODEL_CORS_ORIGINS": ORIGIN,
        },
    )
    load(made)
    yield made
    made.scheduler.close()


@asynccontextmanager
async def over_sockets(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server on a port, which answers some requests inline."""
    listener = listen(("127.0.0.1", 0))
    app = App(service)
    server = Server(app, None, app.try_inline, service.budget)
    await server.start(listener)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
        yield client
    await server.close(0.0)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int, str]]:
    """Method, path, status and client of what the access log said since the last call."""
    found = [vars(record) for record in caplog.records if record.name == LOG]
    caplog.clear()
    return [(line["method"], line["path"], line["status"], line["client"]) for line in found]


def unauthorized(service: Service) -> float:
    return float(service.metrics.rejected.labels("unauthorized")._value.get())


def inferences(service: Service, code: int) -> float:
    """Inference requests that were counted with that status, over both endpoints."""
    return sum(
        service.metrics.registry.get_sample_value(
            f"{REQUEST_DURATION_METRIC}_count", {"endpoint": endpoint, "code": str(code)}
        )
        or 0.0
        for endpoint in ("infer", "predict")
    )


def rest_requests(service: Service) -> list[tuple[str, str]]:
    """Every route that the API's description has, and what is none."""
    found = [
        (operation.verb.upper(), operation.path.replace("{name}", "digits").replace("{version}", "1"))
        for operation in operations(document(service.model().engine.card))
    ]
    return [*found, ("HEAD", "/"), ("GET", "/nothing"), ("PUT", "/v2"), ("OPTIONS", "/predict"), ("POST", LIVE_PATH)]


def grpc_methods() -> list[str]:
    """Every method of every service that reflection lists."""
    files = (open_inference_pb2, health_pb2, reflection_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    paths = [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]
    return [*paths, *(f"/{name}/ServerReflectionInfo" for name in REFLECTION[:1])]


@pytest.mark.parametrize("connect", [client_of, over_sockets])
async def test_every_route_refuses_logs_and_counts_who_has_no_key(
    service: Service, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(service) as client:
        with caplog.at_level(logging.INFO):
            for method, path in rest_requests(service):
                before, counted = unauthorized(service), inferences(service, 401)
                is_inference = method == "POST" and path.endswith(("/infer", "/predict"))
                response = await client.request(method, path, json={"inputs": [ROW]} if method == "POST" else None)
                is_open = path in OPEN_PATHS and method == "GET"
                assert response.status_code == (200 if is_open else 401), (method, path)
                if not is_open and method != "HEAD":
                    assert list(response.json()) == ["error"]
                assert lines(caplog) == [(method, path, response.status_code, "")]
                assert unauthorized(service) - before == (not is_open), (method, path)
                assert inferences(service, 401) - counted == is_inference, (method, path)


@pytest.mark.parametrize("connect", [client_of, over_sockets])
async def test_an_inference_is_logged_and_counted_once_with_the_name_of_its_key(
    service: Service, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/v2/models/digits/infer"
    async with connect(service) as client:
        with caplog.at_level(logging.INFO):
            for body, status in (({"inputs": [ROW]}, 200), ({}, 400)):
                answer = await client.post(path, json=body, headers={"x-api-key": "alice-key"})
                assert answer.status_code == status
                assert lines(caplog) == [("POST", path, status, "alice")]
                assert inferences(service, status) == 1
    assert service.metrics.in_flight._value.get() == 0


async def test_preflights_are_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"origin": ORIGIN, "access-control-request-method": "POST"}
    async with over_sockets(service) as client:
        with caplog.at_level(logging.INFO):
            assert (await client.options("/predict", headers=headers)).status_code == 200
            assert lines(caplog) == [("OPTIONS", "/predict", 200, "")]


async def test_every_method_of_grpc_refuses_logs_and_counts_who_has_no_key(
    served: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice").write_text("alice-key")
    serving = await served(EDGEMODEL_AUTH_DIR=str(tmp_path / "keys"), EDGEMODEL_ACCESS_LOG="true")
    assert set(grpc_methods()) > OPEN_METHODS
    async with grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}") as channel:
        with caplog.at_level(logging.INFO):
            for path in grpc_methods():
                before, counted = unauthorized(serving.service), inferences(serving.service, 401)
                if path.endswith("/Watch"):
                    watch: Any = channel.unary_stream(path)
                    watching = watch(b"")
                    assert isinstance(await watching.read(), bytes)
                    watching.cancel()
                    continue
                # One message to methods of streams, too: a refusal comes before anything is read.
                method: Any = channel.unary_unary(path)
                if path in OPEN_METHODS:
                    assert isinstance(await method(b""), bytes)
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as refusal:
                    await method(b"")
                assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED, path
                assert ("gRPC", path, 401, "") in lines(caplog)
                assert unauthorized(serving.service) - before == 1, path
                assert inferences(serving.service, 401) - counted == path.endswith("/ModelInfer"), path
