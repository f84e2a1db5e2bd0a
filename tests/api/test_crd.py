"""The resource as the API server sees it: defaults, what it refuses, what ``kubectl get`` shows."""

from typing import Any

import pytest

from tests.api.client import RefusedError
from tests.api.conftest import BASE
from tests.api.operator_process import OperatorProcess
from tests.api.world import EDGE_LABEL, URI, ZONE_LABEL, World
from tools.localcluster.kubectl import FIRST_WITH_RULES
from tools.localcluster.native.control_plane import ControlPlane

pytestmark = [pytest.mark.api]


def test_the_shortest_spec_gets_every_default(world: World) -> None:
    spec = world.create(suspend=True).read()["spec"]
    assert spec["compression"]["mode"] == "Auto"
    assert spec["compression"]["job"]["activeDeadlineSeconds"] == 3600
    assert spec["compression"]["job"]["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}
    assert spec["serving"]["resources"]["requests"] == {"cpu": "250m", "memory": "256Mi"}
    assert spec["serving"]["preprocessing"]["layout"] == "NCHW"
    assert spec["placement"] == {"nodeSelector": {EDGE_LABEL: ""}, "siteLabel": ZONE_LABEL}
    assert spec["scaling"]["minReplicas"] == 1
    assert spec["scaling"]["behavior"]["scaleDown"] == {"stabilizationWindowSeconds": 300}
    rollout = {"waves": [1, "25%", "100%"], "soak": "0s", "maxFailedSites": 0, "progressDeadline": "10m"}
    assert spec["rollout"] == rollout | {"paused": False}


def test_the_installation_is_applied_whole_again_and_without_a_warning(plane: ControlPlane) -> None:
    """No field is pruned, deprecated, or changed by the server's defaults: a second apply finds nothing to do."""
    again = plane.kubectl.apply("-k", BASE)
    assert again.stderr == ""
    lines = again.stdout.splitlines()
    assert len(lines) > 8
    changed = {line.partition("/")[0] for line in lines if not line.endswith(" unchanged")}
    drops_rules = plane.kubectl.minor < FIRST_WITH_RULES
    assert changed == ({"customresourcedefinition.apiextensions.k8s.io"} if drops_rules else set())


def test_the_installation_passes_the_servers_own_validation(plane: ControlPlane) -> None:
    """As Argo CD and Flux apply: server-side, with unknown fields refused. Servers before 1.25 know no CEL rules."""
    dry = ("--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict", "-k", BASE)
    done = plane.kubectl("apply", *dry, check=False)
    if plane.kubectl.minor >= FIRST_WITH_RULES:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a URI of an unknown kind", {"model": {"uri": "ftp://host/model.onnx"}}, "spec.model.uri"),
    ("no model", {"model": None}, "spec.model"),
    ("no URI", {"model": {"format": "ONNX"}}, "spec.model.uri"),
    ("a format nobody knows", {"model": {"uri": URI, "format": "pickle"}}, "spec.model.format"),
    ("a digest that is none", {"model": {"uri": URI, "sha256": "abc"}}, "spec.model.sha256"),
    ("a compression mode nobody knows", {"compression": {"mode": "auto"}}, "spec.compression.mode"),
    ("pruning everything", {"compression": {"pruning": {"sparsity": "100%"}}}, "spec.compression.pruning.sparsity"),
    ("pruning nothing in words", {"compression": {"pruning": {"sparsity": "half"}}}, "sparsity"),
    ("3 bits", {"compression": {"quantization": {"method": "Static", "bits": 3}}}, "quantization.bits"),
    ("a size without sense", {"compression": {"objectives": {"maxSize": "8 MB"}}}, "objectives.maxSize"),
    ("a latency without a unit", {"compression": {"objectives": {"maxLatency": "10"}}}, "objectives.maxLatency"),
    ("a drop without a percent sign", {"compression": {"objectives": {"maxAccuracyDrop": "1"}}}, "maxAccuracyDrop"),
    ("a Job without time", {"compression": {"job": {"activeDeadlineSeconds": 0}}}, "activeDeadlineSeconds"),
    ("a quantity without sense", {"serving": {"resources": {"limits": {"cpu": "fast"}}}}, "resources.limits.cpu"),
    ("an environment variable without name", {"serving": {"env": [{"value": "x"}]}}, "env.name"),
    ("class names that are not a list", {"serving": {"classNames": "zero"}}, "spec.serving.classNames"),
    ("no replicas", {"scaling": {"minReplicas": 0}}, "spec.scaling.minReplicas"),
    ("the 100th percentile", {"scaling": {"target": {"latency": "5ms", "percentile": 100}}}, "target.percentile"),
    ("no waves", {"rollout": {"waves": []}}, "spec.rollout.waves"),
    ("a wave below zero", {"rollout": {"waves": [-5]}}, "spec.rollout.waves"),
    ("a share as a float", {"compression": {"pruning": {"sparsity": 0.5}}}, "spec.compression.pruning.sparsity"),
    ("a source that is not built", {"model": {"uri": "s3://bucket/model.onnx"}}, "spec.model.uri"),
    ("one site twice", {"placement": {"sites": ["a", "a"]}}, "spec.placement.sites"),
    ("a metric in small letters", {"compression": {"metric": "top1"}}, "spec.compression.metric"),
    ("a wave of more than everything", {"rollout": {"waves": ["150%"]}}, "spec.rollout.waves"),
    ("an override of no site", {"placement": {"overrides": [{"serving": {}}]}}, "overrides.site"),
    ("a suspension in words", {"suspend": "yes"}, "spec.suspend"),
]


@pytest.mark.parametrize(("spec", "field"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_server_refuses_and_names_the_field(world: World, spec: dict[str, Any], field: str) -> None:
    with pytest.raises(RefusedError) as refused:
        world.create(**spec)
    assert refused.value.status == 422
    # Elements of lists are named with their index or without it, depending on the server's version.
    assert field.rpartition(".")[2] in refused.value.message
    assert field.partition(".")[0].replace("spec", "spec.") in refused.value.message or "spec." in refused.value.message


def test_kubectl_shows_the_columns_and_knows_the_short_name(
    world: World, plane: ControlPlane, operator: OperatorProcess
) -> None:
    assert operator.alive
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    header, row = plane.kubectl("get", "em", "-n", world.namespace).stdout.splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "SIZE", "LATENCY", "ACCURACY", "SITES", "REPLICAS", "AGE"]
    assert row.split()[:9] == [
        "digits",
        "True",
        "Ready",
        "46.8→11.8",
        "MB",
        "34.2ms→11.4ms",
        "98.10→97.80%",
        "2/2",
        "2",
    ]
    wide = plane.kubectl("get", "edgemodels", "-o", "wide", "-n", world.namespace).stdout
    assert "IMAGE" in wide
    assert f"@sha256:{'c' * 64}" in wide
    listed = plane.kubectl("get", "all", "-n", world.namespace).stdout
    assert "edgemodel.edge5g.io/digits" in listed


def test_a_status_written_by_a_user_is_not_taken(world: World) -> None:
    model = world.create(suspend=True)
    world.api.merge("EdgeModel", world.namespace, model.name, {"status": {"readySites": 9}})
    assert model.status.get("readySites") != 9


def test_applying_again_does_not_fight_the_operator(
    world: World, plane: ControlPlane, operator: OperatorProcess
) -> None:
    assert operator.alive
    manifest = (
        "apiVersion: edge5g.io/v1alpha1\nkind: EdgeModel\nmetadata: {name: digits}\n"
        f'spec: {{model: {{uri: "{URI}"}}}}\n'
    )
    scope = ("-n", world.namespace, "-f", "-")
    plane.kubectl.apply(*scope, input=manifest)
    digits = world.handle("digits")
    digits.bring_to_ready("site-a", "site-b")
    before = digits.read()
    assert plane.kubectl("diff", "-n", world.namespace, "-f", "-", input=manifest).stdout == ""
    assert "unchanged" in plane.kubectl.apply(*scope, input=manifest).stdout
    assert digits.read()["metadata"]["generation"] == before["metadata"]["generation"] == 1
