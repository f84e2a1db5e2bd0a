"""The whole local cluster, the images and the operator, set up once; a namespace per module."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.artifacts import push
from tests.demo.install import install
from tests.e2e.digits import Digits, make_digits
from tests.e2e.world import World
from tools import localcluster as harness
from tools.localcluster import Cluster, images
from tools.localcluster.system.progress import Progress

ONNX = "application/onnx"
NPZ = "application/x-npz"


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Up, with the images in its registry and the operator installed. It stays up for the next run."""
    if platform.system() != "Linux":
        pytest.fail("The e2e tests need Linux (as root, or with a Docker engine and kind).")
    progress = Progress()
    up = harness.up()
    install(up, images.build(up.registry), progress)
    return up


@pytest.fixture(scope="session")
def digits(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """The small model and its data, in the registry; and what is wrong in some way beside them."""
    folder: Path = tmp_path_factory.mktemp("digits")
    made = make_digits(folder)
    whole = made.model.read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "page.onnx").write_text("<!doctype html><title>Sign in</title>")
    for reference, file, kind in (
        ("e2e/digits:good", made.model, ONNX),
        ("e2e/digits:truncated", folder / "truncated.onnx", ONNX),
        ("e2e/digits:page", folder / "page.onnx", ONNX),
        ("e2e/digits-data:good", made.dataset, NPZ),
        ("e2e/digits-data:wrong-shape", folder / "wrong-shape.npz", NPZ),
    ):
        push(cluster.registry, f"{cluster.registry.name}/{reference}", file, kind)
    return made


@pytest.fixture(scope="module")
def world(cluster: Cluster, digits: Digits, request: pytest.FixtureRequest) -> Iterator[World]:
    """A namespace for the module's EdgeModels, removed afterwards."""
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout=150)
    cluster.kubectl("create", "namespace", name)
    yield World(cluster, name, digits)
    cluster.kubectl("delete", "namespace", name, "--timeout=120s", timeout=150)
