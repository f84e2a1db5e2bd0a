import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import onnx
import pytest

from edgemodel_contract.settings import read_settings
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.http.app import App
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.service import Service, load_model
from edgemodel_server.settings import Settings
from tests.unit.server.builders import mlp, write_folder
from tests.unit.server.collector import Collector, collecting
from tests.unit.server.http2 import Serving


class Serve(Protocol):
    async def __call__(
        self, model: onnx.ModelProto, env: dict[str, str] | None = None, **card: Any
    ) -> httpx.AsyncClient:
        """A client of a ready server in this process. ``card`` goes to ``write_folder``."""


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(App(service), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client
    service.scheduler.close()


@pytest.fixture
def new_service(tmp_path: Path) -> Callable[..., Service]:
    def build(model: onnx.ModelProto, env: dict[str, str] | None = None, **card: Any) -> Service:
        write_folder(tmp_path / "model", model, **card)
        settings = read_settings(Settings, {"EDGEMODEL_MODEL_DIR": str(tmp_path / "model"), **(env or {})})
        return Service(settings, Parallelism(threads=1, workers=1, spinning=False))

    return build


@pytest.fixture
def load() -> Callable[[Service], None]:
    """Make a service of ``new_service`` ready."""

    def make_ready(service: Service) -> None:
        service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))

    return make_ready


@pytest.fixture
async def serve(new_service: Callable[..., Service]) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(model: onnx.ModelProto, env: dict[str, str] | None = None, **card: Any) -> httpx.AsyncClient:
            service = new_service(model, env, **card)
            service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))
            return await stack.enter_async_context(client_of(service))

        yield start


@pytest.fixture
async def served(new_service: Callable[..., Service]) -> AsyncIterator[Callable[..., Any]]:
    """Serve a model; at the end nothing of any request is held any more."""
    started: list[Serving] = []

    async def start(model: Any = None, **env: str) -> Serving:
        service = new_service(model or mlp(), env)
        service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))
        server = GrpcServer(service, None)
        started.append(Serving(service, server, await server.start(("127.0.0.1", 0))))
        return started[-1]

    yield start
    for item in started:
        await item.server.stop(0)
        item.service.close()
        assert item.service.budget.memory.used == 0


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def environ(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment with the collector of traces, and what a test sets."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    return monkeypatch
