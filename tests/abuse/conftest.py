"""The server under attack, its neighbours, and nginx before it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import onnx
import pytest

from tests.abuse.nginx import proxying
from tests.abuse.server import Target, serving
from tests.abuse.watch import MIB, STRICT, WIDE, Limits, Neighbours, Watch
from tests.unit.server.builders import mlp, write_folder

KEPT = 64 * MIB
"""Bytes that the allocator and grpcio may keep for themselves when all is over."""


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long run."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def limits(long: bool) -> Limits:
    return STRICT if long else WIDE


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The small model, served with the default settings."""
    folder = tmp_path_factory.mktemp("target")
    with serving(write_folder(folder / "model", mlp()), folder / "log") as target:
        yield target


@pytest.fixture(scope="session")
def target_port(target: Target) -> int:
    """Where the small model's REST API is."""
    return target.port


@contextmanager
def watching(target: Target, limits: Limits, kind: str = "small") -> Iterator[Watch]:
    """``target`` with neighbours that are served. ``kind``: of its model, see ``neighbours``."""
    neighbours = Neighbours(target, kind)
    try:
        yield Watch(target, neighbours, limits)
    finally:
        neighbours.end()


@pytest.fixture(scope="session")
def watch(target: Target, limits: Limits) -> Iterator[Watch]:
    """The small model's server and its neighbours."""
    with watching(target, limits) as watch:
        yield watch
        watch.judge_what_is_kept(KEPT)


@pytest.fixture(scope="module")
def attack(watch: Watch) -> Iterator[None]:
    """All tests of a module are one attack on the small model's server."""
    with watch.attack():
        yield


@pytest.fixture(scope="session")
def proxy(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx before the small model's server."""
    with proxying(target.port, tmp_path_factory.mktemp("nginx")) as port:
        yield port


@contextmanager
def served(
    folder: Path, limits: Limits, model: onnx.ModelProto, kind: str, *, descriptors: int | None = None, **env: str
) -> Iterator[Watch]:
    """A server of its own for ``model``, and its neighbours. ``kind``: of the model, see ``neighbours``."""
    written = write_folder(folder / "model", model)
    with (
        serving(written, folder / "log", descriptors=descriptors, **env) as target,
        watching(target, limits, kind) as watch,
    ):
        yield watch


Special = Callable[..., AbstractContextManager[Watch]]


@pytest.fixture
def special(tmp_path: Path, limits: Limits) -> Special:
    """Serves a model with settings of a test's own: ``with special(model, kind, EDGEMODEL_…=…) as watch``."""
    return partial(served, tmp_path, limits)
