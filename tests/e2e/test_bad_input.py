"""Whatever a user writes wrong ends in a condition that says what to do, and the version before keeps serving."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.world import World

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Case:
    """One mistake. ``says`` are parts of the sentence that its author reads."""

    name: str
    reason: str
    says: tuple[str, ...]
    spoil: Callable[[World, dict[str, Any]], None]


def _model(**fields: Any) -> Callable[[World, dict[str, Any]], None]:
    return lambda _, spec: spec["model"].update(fields)


def _artifact(reference: str) -> Callable[[World, dict[str, Any]], None]:
    return lambda world, spec: spec["model"].update(uri=world.uri(reference))


def _wrong_data(world: World, spec: dict[str, Any]) -> None:
    spec["compression"]["dataset"]["uri"] = world.uri("e2e/digits-data:wrong-shape")


def _objectives(**wanted: str) -> Callable[[World, dict[str, Any]], None]:
    return lambda _, spec: spec["compression"].update(objectives=wanted)


def _job(**fields: Any) -> Callable[[World, dict[str, Any]], None]:
    def spoil(_: World, spec: dict[str, Any]) -> None:
        # Another objective makes it another task; with the same one the registry would have the answer.
        spec["compression"] |= {"objectives": {"maxSize": "9Mi"}, "job": spec["compression"]["job"] | fields}

    return spoil


TINY_MEMORY = {"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "2", "memory": "16Mi"}}

CASES = (
    Case("unreachable", "SourceUnavailable", ("127.0.0.1:9",), _model(uri="http://127.0.0.1:9/model.onnx")),
    Case("missing", "SourceNotFound", ("e2e/digits",), _artifact("e2e/digits:nowhere")),
    Case("checksum", "ChecksumMismatch", ("sha256",), _model(sha256="0" * 64)),
    Case("page", "InvalidModel", ("web page",), _artifact("e2e/digits:page")),
    Case("truncated", "InvalidModel", ("ONNX",), _artifact("e2e/digits:truncated")),
    Case("data", "InvalidDataset", ("shape",), _wrong_data),
    Case("objectives", "ObjectivesNotMet", ("closest",), _objectives(maxSize="100")),
    Case("memory", "JobOutOfMemory", ("limits.memory",), _job(resources=TINY_MEMORY)),
    Case("deadline", "JobDeadlineExceeded", ("activeDeadlineSeconds",), _job(activeDeadlineSeconds=1)),
)


@pytest.fixture(scope="module")
def served(world: World) -> dict[str, str]:
    """One good EdgeModel per case, all serving; name → image."""
    names = [case.name for case in CASES]
    world.apply(*(world.edge_model(name) for name in names))
    world.wait_ready(*names, seconds=600)
    return {name: world.served_image(name) for name in names}


@pytest.fixture(scope="module")
def spoiled(world: World, served: dict[str, str]) -> dict[str, str]:
    """Every case's mistake applied, all at once."""
    models = []
    for case in CASES:
        model = copy.deepcopy(world.edge_model(case.name))
        case.spoil(world, model["spec"])
        models.append(model)
    world.apply(*models)
    return served


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mistake_is_explained_and_the_version_before_serves(world: World, spoiled: dict[str, str], case: Case) -> None:
    condition = world.wait_reason(case.name, case.reason, seconds=400)

    assert condition.status == "False"
    for part in case.says:
        assert part.lower() in condition.message.lower()
    assert "keeps serving" in condition.message
    digest = spoiled[case.name].partition("@")[2]
    assert set(world.running_images(case.name).values()) == {digest}
    for site in world.cluster.sites:
        assert world.accuracy(case.name, site.name, samples=10) > 0.8
    events = world.cluster.kubectl(
        *("get", "events", "-n", world.namespace, "--field-selector", f"involvedObject.name={case.name}"),
        *("-o", "jsonpath={.items[*].reason}"),
    )
    assert case.reason in events.stdout


def test_server_rejects_what_the_schema_forbids(world: World) -> None:
    model = world.edge_model("schema", model={"uri": "ftp://somewhere/model.onnx"})

    with pytest.raises(Exception, match=r"spec\.model\.uri"):
        world.apply(model)


def test_no_capacity_is_said_of_the_site_that_lacks_it(world: World) -> None:
    huge = {"requests": {"cpu": "64", "memory": "64Mi"}, "limits": {"cpu": "64", "memory": "384Mi"}}
    world.apply(world.edge_model("huge", placement={"overrides": [{"site": "site-b", "serving": {"resources": huge}}]}))

    condition = world.wait_reason("huge", "InsufficientCapacity")

    assert "site-b" in condition.message
    assert world.accuracy("huge", "site-a", samples=10) > 0.8
