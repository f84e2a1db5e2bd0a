"""The task's digest names Job, image tag and result: it moves with what shapes the model, and with nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from edgemodel_contract.encoding import decode, encode
from edgemodel_contract.task import Task
from edgemodel_operator.plan.policy.task import MAX_REPOSITORY, desired_task
from tests.unit.operator.builders import SETTINGS, ModelBuilder, edge_model

BASE = edge_model().set("compression.dataset", {"uri": "https://models.example/digits.npz"})


def task(builder: ModelBuilder, **settings: Any) -> Task:
    return desired_task(builder.build(), builder.spec(), replace(SETTINGS, **settings))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.uri", "https://models.example/other.onnx"),
        ("model.sha256", "0" * 64),
        ("model.format", "Transformers"),
        ("model.secretRef", {"name": "credentials"}),
        ("model.inputs", [{"name": "x", "shape": [1, 1, 32, 32]}]),
        ("compression.mode", "None"),
        ("compression.dataset", {"uri": "https://models.example/other.npz"}),
        ("compression.dataset", {"uri": "https://models.example/digits.npz", "sha256": "0" * 64}),
        ("compression.dataset", {"uri": "https://models.example/digits.npz", "secretRef": {"name": "credentials"}}),
        ("compression.metric", "Top5"),
        ("compression.targetCPU", "AVX2"),
        ("compression.calibrationSamples", 64),
        ("compression.search", {"timeout": "5m"}),
        ("compression.objectives", {"maxSize": "8Mi"}),
        ("compression.objectives", {"maxLatency": "10ms"}),
        ("compression.objectives", {"maxAccuracyDrop": "1%"}),
        ("serving.classNames", ["zero", "one"]),
        ("serving.preprocessing", {"scale": "1"}),
        ("serving.preprocessing", {"mean": ["0.5"]}),
        ("serving.preprocessing", {"layout": "NHWC"}),
        ("serving.resources", {"limits": {"cpu": "4"}}),
    ],
)
def test_what_shapes_the_model_changes_the_digest(path: str, value: Any) -> None:
    assert task(BASE.set(path, value)).digest != task(BASE).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("serving.resources", {"requests": {"cpu": "100m"}, "limits": {"cpu": "800m", "memory": "2Gi"}}),
        ("serving.env", [{"name": "A", "value": "b"}]),
        ("serving.podTemplate", {"priorityClassName": "edge-critical"}),
        ("serving.expose", {"type": "NodePort", "nodePort": 30080}),
        ("compression.job", {"activeDeadlineSeconds": 60, "resources": {"limits": {"memory": "8Gi"}}}),
        ("placement.sites", ["site-a"]),
        ("placement.overrides", [{"site": "site-a", "scaling": {"minReplicas": 2}}]),
        ("scaling", {"minReplicas": 2, "maxReplicas": 5, "target": {"latency": "20ms"}}),
        ("rollout", {"waves": [1, "100%"], "soak": "1m", "paused": True}),
        ("suspend", True),
        ("compression.objectives", {}),
        ("compression.mode", "Auto"),
        ("serving.preprocessing", {"scale": "1/255", "layout": "NCHW"}),
    ],
)
def test_what_does_not_shape_the_model_keeps_the_digest(path: str, value: Any) -> None:
    assert task(BASE.set(path, value)).digest == task(BASE).digest


@pytest.mark.parametrize(
    ("objectives", "same"),
    [
        ({"maxSize": "8Mi"}, {"maxSize": "8192Ki"}),
        ({"maxLatency": "10ms"}, {"maxLatency": "0.01s"}),
        ({"maxAccuracyDrop": "1%"}, {"maxAccuracyDrop": "1.0%"}),
    ],
)
def test_the_same_amount_in_another_notation_is_the_same_task(objectives: Any, same: Any) -> None:
    one, other = (BASE.set("compression.objectives", written) for written in (objectives, same))
    assert task(one).digest == task(other).digest


@pytest.mark.parametrize("field", ["inference_image", "compression_image", "platform"])
def test_another_base_image_engine_or_platform_is_another_task(field: str) -> None:
    other = {"platform": "linux/arm64"}.get(field, f"registry.example:5000/other@sha256:{'3' * 64}")
    assert task(BASE, **{field: other}).digest != task(BASE).digest


@pytest.mark.parametrize(
    "other", [{"workers": 3}, {"registry_secret": "push"}, {"registry_endpoints": {"a": "http://b"}}]
)
def test_how_a_registry_is_reached_keeps_the_digest(other: Any) -> None:
    assert task(BASE, **other).digest == task(BASE).digest


def test_a_model_recreated_under_its_name_asks_for_the_same_image() -> None:
    again = edge_model(uid="another").set("compression.dataset", {"uri": "https://models.example/digits.npz"})
    assert task(again).digest == task(BASE).digest


def test_namesakes_in_two_namespaces_have_two_repositories() -> None:
    one, other = edge_model(namespace="one"), edge_model(namespace="other")
    assert task(one).repository == "registry.example:5000/models/one/digits"
    assert task(other).repository == "registry.example:5000/models/other/digits"


def test_the_longest_names_fit_a_registry_and_stay_apart() -> None:
    names = ["a" * 252 + "b", "a" * 252 + "c"]
    repositories = {task(edge_model(name, namespace="n" * 63)).repository for name in names}
    assert len(repositories) == 2
    assert all(len(repository) <= MAX_REPOSITORY for repository in repositories)


def test_the_recipe_is_in_base_units() -> None:
    builder = (
        BASE.set("compression.mode", "Manual")
        .set("compression.pruning", {"sparsity": "50%", "depth": "25%", "scope": "Layer"})
        .set("compression.quantization", {"method": "Static"})
        .set("compression.objectives", {"maxSize": "8Mi", "maxLatency": "10ms", "maxAccuracyDrop": "1%"})
    )
    recipe = task(builder).recipe
    assert (recipe.objectives.max_size, recipe.objectives.max_latency) == (8 * 2**20, 0.01)
    assert recipe.objectives.max_accuracy_drop == 0.01
    assert recipe.pruning is not None
    assert (recipe.pruning.sparsity, recipe.pruning.depth, recipe.pruning.scope) == (0.5, 0.25, "Layer")
    assert recipe.quantization is not None
    assert recipe.quantization.method == "Static"


def test_threads_are_the_cpu_limit_rounded_up() -> None:
    for limit, threads in (("500m", 1), ("1", 1), ("1100m", 2), (3, 3)):
        assert task(BASE.set("serving.resources", {"limits": {"cpu": limit}})).serving.threads == threads
    assert task(BASE.set("serving.resources", {"requests": {"cpu": "1500m"}})).serving.threads == 2
    assert task(BASE.set("serving.resources", {})).serving.threads == 1


def test_the_job_reads_what_the_operator_wrote() -> None:
    written = task(BASE.set("model.secretRef", {"name": "credentials"}))
    read = decode(encode(written), Task)
    assert read == written
    assert read.digest == written.digest
    assert read.model.secret
