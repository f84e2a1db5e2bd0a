"""What the spec says of pods, on a real API server: admitted under Pod Security *restricted*, or refused in words."""

import json
from typing import Any

import pytest

from tests.api import pod_statuses
from tests.api.client import Object, RefusedError
from tests.api.edge_model import COMPRESSOR, SERVER, server_container
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import URI, World
from tools.localcluster.kubectl import FIRST_WITH_RULES

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

LONG_AGO = "2026-01-01T00:00:00Z"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
POD: Object = {
    "labels": {"team": "vision"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "tolerations": [
        {"key": "dedicated", "operator": "Exists"},
        {"key": "maintenance", "value": "soon", "effect": "NoExecute", "tolerationSeconds": 600},
    ],
    "priorityClassName": "edge-critical",
    "nodeAffinity": {
        REQUIRED: {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["hdd"]}]}]
        }
    },
    "imagePullSecrets": [{"name": "mirror"}],
    "runtimeClassName": "sandboxed",
    "serviceAccountName": "models",
    "extraVolumes": [
        {"name": "ca", "configMap": {"name": "corporate-ca", "optional": True}},
        {"name": "keys", "secret": {"secretName": "telemetry"}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
    ],
}
VARIABLES = [
    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "telemetry", "key": "token"}}},
    {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "logging", "key": "level", "optional": True}}},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
]
SPREAD = [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}]


@pytest.fixture
def surroundings(world: World) -> World:
    """What a platform team has in place; the namespace enforces Pod Security where the server knows it."""
    enforce = {
        f"pod-security.kubernetes.io/{key}": value
        for key, value in (("enforce", "restricted"), ("enforce-version", "latest"))
    }
    world.api.merge("Namespace", "", world.namespace, {"metadata": {"labels": enforce}})
    for kind, version, extra in (
        ("PriorityClass", "scheduling.k8s.io/v1", {"value": 1000}),
        ("RuntimeClass", "node.k8s.io/v1", {"handler": "runsc"}),
    ):
        name = "edge-critical" if kind == "PriorityClass" else "sandboxed"
        if world.api.get(kind, "", name) is None:
            world.api.create({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **extra})
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "models", "namespace": world.namespace},
    }
    world.api.create(account)
    return world


def check(found: Object, container: Object) -> None:
    pod = found["spec"]
    assert found["metadata"]["labels"]["team"] == "vision"
    assert found["metadata"]["annotations"] == POD["annotations"]
    for name in ("priorityClassName", "runtimeClassName", "serviceAccountName", "imagePullSecrets"):
        assert pod[name] == POD[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["tolerations"][-2:] == POD["tolerations"]
    (expression,) = POD["nodeAffinity"][REQUIRED]["nodeSelectorTerms"][0]["matchExpressions"]
    terms = pod["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert all(expression in term["matchExpressions"] for term in terms)
    extra = {item["name"]: item["mountPath"] for item in container["volumeMounts"] if item["name"].startswith("extra-")}
    assert extra == {f"extra-{name}": f"/mnt/extra/{name}" for name in ("ca", "keys", "shared")}
    assert all(item["readOnly"] for item in container["volumeMounts"] if item["name"] in extra)
    sources = {item["name"]: item["valueFrom"] for item in container["env"] if "valueFrom" in item}
    assert sources["TOKEN"] == VARIABLES[0]["valueFrom"]
    assert sources["LEVEL"] == VARIABLES[1]["valueFrom"]
    assert sources["NODE"] == {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}


def test_pods_are_as_their_owners_want_and_nothing_is_written_twice(
    surroundings: World, operator: OperatorProcess
) -> None:
    digits = surroundings.create(
        compression={"job": {"podTemplate": POD, "env": VARIABLES}},
        serving={"podTemplate": {**POD, "topologySpreadConstraints": SPREAD}, "env": VARIABLES},
    )
    _, job = digits.task()
    check(job["spec"]["template"], job["spec"]["template"]["spec"]["containers"][0])
    digits.bring_to_ready("site-a", "site-b")
    deployment = digits.wait_for_deployment("site-a")
    check(deployment["spec"]["template"], server_container(deployment))
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {name: spread[name] for name in SPREAD[0]} == SPREAD[0]
    assert (
        spread["labelSelector"]["matchLabels"].items() <= digits.server_pods("site-a")[0]["metadata"]["labels"].items()
    )
    operator.settle()
    digits.nudge("look")
    steady("the operator's writes", operator.writes, seconds=1)


def test_another_pod_is_rolled_out_like_a_version_wave_by_wave(surroundings: World) -> None:
    digits = surroundings.create()
    image = digits.bring_to_ready("site-a", "site-b")
    digits.edit({"serving": {"podTemplate": {"labels": {"team": "vision"}}}})
    digits.wait_for_site("site-b", "Pending", "WaitingForWave")
    labels = [
        digits.wait_for_deployment(site)["spec"]["template"]["metadata"]["labels"].get("team")
        for site in ("site-a", "site-b")
    ]
    assert labels == ["vision", None]
    assert digits.condition("Available")["status"] == "True"
    for site in ("site-a", "site-b"):
        eventually(f"{site} to have the label", lambda site=site: _label(digits.server_pods(site)))  # type: ignore[misc]
        digits.make_ready(site)
    digits.wait_for("Ready", "True")
    assert digits.status["model"]["image"] == image


def _label(pods: list[Object]) -> bool:
    return any(pod["metadata"]["labels"].get("team") == "vision" for pod in pods)


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"runtimeClassName": "nobody-has-it"}, 'RuntimeClass "nobody-has-it" not found'),
        ({"serviceAccountName": "nobody"}, 'serviceaccount "nobody" not found'),
        ({"priorityClassName": "nobody-has-it"}, "no PriorityClass with name nobody-has-it was found"),
    ],
    ids=["runtime", "account", "priority"],
)
def test_what_a_pod_names_and_nobody_has_is_said_and_what_serves_goes_on(world: World, pod: Object, words: str) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    digits.edit({"serving": {"podTemplate": pod}})
    ready = digits.wait_for("Ready", "False", "PodsRejected")
    assert words in ready["message"]
    assert digits.condition("Available")["status"] == "True"
    assert len(digits.server_pods("site-a")) == 1


@pytest.mark.parametrize("part", ["serving", "job"])
def test_an_extra_volume_that_is_missing_is_named(world: World, part: str) -> None:
    volumes = {"extraVolumes": [{"name": "keys", "secret": {"secretName": "telemetry"}}]}
    message = 'MountVolume.SetUp failed for volume "extra-keys" : secret "telemetry" not found'
    if part == "job":
        digits = world.create(compression={"job": {"podTemplate": volumes}})
        pod = digits.job_pod()
    else:
        digits = world.create(serving={"podTemplate": volumes})
        digits.finish_job()
        pod = digits.wait_for_server_pod("site-a")
    digits.tell(pod, "FailedMount", message)
    digits.patch_pod(pod, pod_statuses.being_created(SERVER if part == "serving" else COMPRESSOR, LONG_AGO))
    ready = digits.wait_for("Ready", "False", "SecretNotFound" if part == "serving" else "JobCannotStart")
    assert "Secret telemetry" in ready["message"]
    assert "podTemplate.extraVolumes" in ready["message"]


UNSAFE: list[tuple[str, dict[str, Any], str]] = [
    ("privileged", {"podTemplate": {"securityContext": {"privileged": True}}}, "securityContext"),
    ("root", {"podTemplate": {"runAsUser": 0}}, "runAsUser"),
    ("the node's network", {"podTemplate": {"hostNetwork": True}}, "hostNetwork"),
    ("the node's processes", {"podTemplate": {"hostPID": True}}, "hostPID"),
    ("a token", {"podTemplate": {"automountServiceAccountToken": True}}, "automountServiceAccountToken"),
    (
        "the node's files",
        {"podTemplate": {"extraVolumes": [{"name": "docker", "hostPath": {"path": "/var/run"}}]}},
        "hostPath",
    ),
    (
        "a place in the image",
        {"podTemplate": {"extraVolumes": [{"name": "a", "secret": {"secretName": "a"}, "mountPath": "/usr"}]}},
        "mountPath",
    ),
]


@pytest.mark.parametrize("part", ["serving", "job"])
@pytest.mark.parametrize(("fields", "name"), [row[1:] for row in UNSAFE], ids=[row[0] for row in UNSAFE])
def test_what_would_undo_security_is_refused(world: World, part: str, fields: Object, name: str) -> None:
    """By the server; one of before 1.25 drops what it does not know, where kubectl has not refused it already."""
    spec = {"serving": fields} if part == "serving" else {"compression": {"job": fields}}
    body = {
        "apiVersion": "edge5g.io/v1alpha1",
        "kind": "EdgeModel",
        "metadata": {"name": "digits", "namespace": world.namespace},
        "spec": {"model": {"uri": URI}, **spec},
    }
    if world.plane.kubectl.minor < FIRST_WITH_RULES:
        assert name not in json.dumps(world.api.apply(body, "user")["spec"])
        return
    with pytest.raises(RefusedError) as refused:
        world.api.apply(body, "user")
    assert name in refused.value.message
    assert world.api.get("EdgeModel", world.namespace, "digits") is None


@pytest.mark.parametrize(
    "tolerations", [[{"operator": "Exists"}], [{"key": "", "operator": "Exists"}]], ids=["no key", "an empty key"]
)
def test_a_toleration_of_every_taint_is_refused(world: World, tolerations: list[Object]) -> None:
    with pytest.raises(RefusedError) as refused:
        world.create(serving={"podTemplate": {"tolerations": tolerations}})
    assert refused.value.status == 422
    assert "key" in refused.value.message


RESERVED: list[tuple[str, dict[str, Any], str]] = [
    ("a label", {"podTemplate": {"labels": {"edge5g.io/site": "site-b"}}}, "are the operator's"),
    (
        "an annotation",
        {"podTemplate": {"annotations": {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}}},
        "AppArmor",
    ),
    ("keys", {"env": [{"name": "EDGEMODEL_AUTH_DIR", "value": "/tmp"}]}, "this variable is the operator's"),
    (
        "code",
        {"env": [{"name": "LD_PRELOAD", "value": "/mnt/extra/a/b.so"}]},
        "can have the program load code of others",
    ),
    (
        "two sources",
        {"env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "value or valueFrom, not both",
    ),
]


@pytest.mark.parametrize(("serving", "words"), [row[1:] for row in RESERVED], ids=[row[0] for row in RESERVED])
def test_what_the_operator_needs_for_itself_is_not_taken(world: World, serving: Object, words: str) -> None:
    """By the schema where the server knows CEL, by a condition elsewhere."""
    assert words in _complaint(world, serving)


def _complaint(world: World, serving: Object) -> str:
    try:
        digits = world.create(serving=serving)
    except RefusedError as refused:
        return refused.message
    return str(digits.wait_for("Ready", "False", "InvalidSpec")["message"])
