"""Settings that keep measuring short, model files made once, and one open registry for all tests."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgemodel_compressor.progress import Span
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import RegistryAccess
from tests.unit.compressor import builders, images
from tests.unit.compressor.desk import Desk
from tests.unit.compressor.servers import (
    Certificate,
    RunningRegistry,
    WebServer,
    docker_registry,
    make_certificate,
    web_server,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Short measurements, no pauses between attempts, and all mounted folders below ``tmp_path``."""
    mounts = tmp_path / "mounts"
    return replace(
        Settings(),
        measure_time=0.06,
        retry_delay=0.0,
        connect_timeout=5.0,
        read_timeout=5.0,
        registry_credentials_dir=mounts / "registry",
        registry_ca_dir=mounts / "ca",
        model_credentials_dir=mounts / "model-credentials",
        dataset_credentials_dir=mounts / "dataset-credentials",
        claims_dir=mounts / "claims",
        work_dir=tmp_path,
        termination_log=tmp_path / "termination-log",
    )


@pytest.fixture
def span() -> Span:
    """Progress that nobody watches."""
    return Span(lambda _: None)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``mlp.onnx``, ``conv.onnx``, and their datasets ``mlp.npz`` and ``conv.npz``."""
    folder = tmp_path_factory.mktemp("models")
    builders.save(builders.mlp(), folder / "mlp.onnx")
    values, labels = builders.blobs(300, (48,))
    builders.save_dataset(folder / "mlp.npz", x=values, y=labels)
    builders.save(builders.convnet(), folder / "conv.onnx")
    values, labels = builders.blobs(300, (1, 12, 12))
    builders.save_dataset(folder / "conv.npz", image=values, y=labels)
    return folder


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """An open registry without TLS."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A private CA and a certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server without TLS."""
    with web_server() as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, settings: Settings, registry: RunningRegistry, shared: Path) -> Desk:
    settings.claims_dir.mkdir(parents=True)
    (settings.claims_dir / "models").mkdir()
    for file in shared.iterdir():
        (settings.claims_dir / "models" / file.name).write_bytes(file.read_bytes())
    images.push_base(registry)
    return Desk(tmp_path, settings, registry, RegistryAccess(insecure=(registry.host,)), [])
