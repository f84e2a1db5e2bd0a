"""Specs that cannot be carried out are told so by field, and with what to do."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from msgspec import inspect as types

from edgemodel_contract.base import Struct
from edgemodel_operator.api import Spec, Status, parse
from edgemodel_operator.plan.policy.validation import find_problem
from tests.unit.operator.builders import ModelBuilder, edge_model

DATASET = {"uri": "https://models.example/digits.npz"}


def changed(*changes: tuple[str, Any]) -> ModelBuilder:
    builder = edge_model()
    for path, value in changes:
        builder = builder.set(path, value)
    return builder


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [("compression.mode", "None")],
        [("compression.mode", "Manual"), ("compression.pruning", {"sparsity": "50%"})],
        [("compression.mode", "Manual"), ("compression.quantization", {"method": "Dynamic"})],
        [("compression.mode", "Manual"), ("compression.quantization", {"method": "WeightOnly", "bits": 4})],
        [("compression.mode", "Manual"), ("compression.quantization", {"method": "Float16"})],
        [
            ("compression.mode", "Manual"),
            ("compression.pruning", {"sparsity": "50%", "method": "Structured"}),
            ("compression.recovery", {"epochs": 1}),
            ("compression.dataset", DATASET),
        ],
        [
            ("compression.mode", "Manual"),
            ("compression.quantization", {"method": "Static"}),
            ("compression.dataset", DATASET),
        ],
        [("compression.objectives", {"maxAccuracyDrop": "1%", "maxSize": "8Mi"}), ("compression.dataset", DATASET)],
        [("compression.metric", "Top5"), ("compression.dataset", DATASET)],
        [("scaling.minReplicas", 2), ("scaling.maxReplicas", 2)],
        [("rollout.waves", [1, "100%"])],
        [("model.uri", "pvc://models/digits.onnx"), ("model.format", "ONNX")],
        [("model.format", "TorchScript")],
        [("serving.resources", {"limits": {"cpu": 2, "memory": "1Gi"}})],
        [("serving.batching", {}), ("serving.parallelism", "Site")],
        [
            ("serving.tls", {"secretRef": {"name": "certificate"}}),
            ("serving.auth", {"secretRef": {"name": "tokens"}, "requestsPerMinute": 50}),
        ],
        [("serving.allowFrom", ["10.20.0.0/16", "2001:db8::/32"])],
        [("serving.corsOrigins", ["https://app.example:8443", "*"])],
    ],
)
def test_what_can_be_carried_out(changes: list[tuple[str, Any]]) -> None:
    assert find_problem(changed(*changes).build()) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("compression.mode", "Manual")], "mode Manual needs pruning or quantization"),
        ([("compression.pruning", {"sparsity": "50%"})], "set mode to Manual or remove them"),
        ([("compression.mode", "None"), ("compression.quantization", {"method": "Dynamic"})], "set mode to Manual"),
        (
            [("compression.mode", "Manual"), ("compression.quantization", {"method": "Static"})],
            "add compression.dataset, or use quantization.method Dynamic",
        ),
        (
            [("compression.objectives", {"maxAccuracyDrop": "1%"})],
            "maxAccuracyDrop is measured on data: add compression.dataset",
        ),
        ([("compression.metric", "Top5")], "metric is measured on data: add compression.dataset"),
        ([("scaling.minReplicas", 3), ("scaling.maxReplicas", 2)], "maxReplicas must not be below minReplicas"),
        ([("serving.resources", {"limits": {"cpu": "1Gi"}})], "spec.serving.resources: '1Gi' is not a number of CPUs"),
        (
            [("placement.overrides", [{"site": "a", "serving": {"resources": {"limits": {"cpu": "2k"}}}}])],
            "spec.placement.overrides of site a: '2k' is not a number of CPUs",
        ),
        (
            [("placement.overrides", [{"site": "a", "serving": {"expose": {"nodePort": 30080}}}])],
            "spec.placement.overrides of site a: nodePort and grpcNodePort go with spec.serving.expose.type",
        ),
        (
            [
                ("serving.expose", {"type": "NodePort", "nodePort": 30080}),
                ("placement.overrides", [{"site": "a", "serving": {"expose": {"grpcNodePort": 30080}}}]),
            ],
            "spec.placement.overrides of site a: with spec.serving.expose, nodePort and grpcNodePort are both 30080",
        ),
        ([("serving.allowFrom", ["10.20.0.1/16"])], "spec.serving.allowFrom: 10.20.0.1/16 has host bits set; write a"),
        ([("serving.allowFrom", ["10.20.0/99"])], "spec.serving.allowFrom: '10.20.0/99'"),
        ([("rollout.waves", [2, "50%", 1])], "spec.rollout.waves: 1 follows 2; waves count all sites"),
        ([("rollout.waves", ["50%", 1, "25%"])], "spec.rollout.waves: 25% follows 50%"),
        ([("rollout.progressDeadline", "0s")], "spec.rollout: the progress deadline must be more than zero"),
        ([("rollout.soak", "9999h")], "spec.rollout.soak is longer than 720h; write a shorter one; paused: true holds"),
        ([("rollout.progressDeadline", "2147483647s")], "spec.rollout.progressDeadline is longer than 168h"),
        ([("serving.batching", {"maxDelay": "2h"})], "spec.serving.batching.maxDelay is longer than 1h"),
        ([("scaling.target", {"latency": "0ms"})], "spec.scaling.target: the target latency must be more than zero"),
        (
            [("placement.overrides", [{"site": "a", "scaling": {"target": {"latency": "0s"}}}])],
            "spec.placement.overrides[0].scaling.target: the target latency must be more than zero",
        ),
    ],
)
def test_rules_across_fields(changes: list[tuple[str, Any]], words: str) -> None:
    problem = find_problem(changed(*changes).build())
    assert problem is not None
    assert problem.reason == "InvalidSpec"
    assert words in problem.message


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("model.sha256", "abc", "spec.model.sha256"),
        ("model.uri", "ftp://x/y", "spec.model.uri"),
        ("model.uri", "s3://bucket/model.onnx", "spec.model.uri"),
        ("compression.dataset", {"uri": "s3://bucket/data.npz"}, "spec.compression.dataset.uri"),
        ("compression.pruning", {"sparsity": 0.5}, "spec.compression.pruning.sparsity: 0.5 is not a text"),
        ("compression.search", {"timeout": "long"}, "spec.compression.search.timeout: 'long' is not a duration"),
        ("serving.preprocessing", {"mean": ["1/0"]}, "spec.serving.preprocessing.mean[0]: '1/0' is not a number"),
        ("scaling.metricsSource", "Prometheus", "spec.scaling.metricsSource"),
        ("compression.mode", "Fast", "spec.compression.mode"),
        ("compression.pruning", {"sparsity": "100%"}, "spec.compression.pruning.sparsity"),
        ("scaling.minReplicas", 0, "spec.scaling.minReplicas"),
        ("rollout.maxFailedSites", -1, "spec.rollout.maxFailedSites"),
        ("rollout.maxFailedSites", "2.5%", "spec.rollout.maxFailedSites"),
        ("scaling.target", {"latency": "fast"}, "spec.scaling.target.latency"),
        ("rollout.waves", [0], "spec.rollout.waves[0]"),
        ("rollout.waves", [-5], "spec.rollout.waves[0]"),
        ("rollout.waves", ["101%"], "spec.rollout.waves[0]"),
        ("placement.sites", ["a b"], "spec.placement.sites[0]"),
        ("serving.resources", {"limits": {"cpu": "much"}}, "spec.serving.resources.limits"),
        ("suspend", "yes", "spec.suspend"),
        (
            "serving.auth",
            {"secretRef": {"name": "tokens"}, "requestsPerMinute": 0},
            "spec.serving.auth.requestsPerMinute",
        ),
        ("serving.allowFrom", ["anywhere"], "spec.serving.allowFrom[0]"),
        ("serving.corsOrigins", ["https://app.example/"], "spec.serving.corsOrigins[0]"),
        ("serving.expose", {"type": "NodePort", "nodePort": 70000}, "spec.serving.expose.nodePort"),
        ("serving.expose", {"type": "ExternalName"}, "spec.serving.expose.type"),
        ("serving.podTemplate", {"tolerations": [{"operator": "Exists"}]}, "spec.serving.podTemplate.tolerations[0]"),
        ("serving.podTemplate", {"tolerations": [{"key": ""}]}, "spec.serving.podTemplate.tolerations[0].key"),
        (
            "serving.podTemplate",
            {"extraVolumes": [{"name": "../etc", "secret": {"secretName": "a"}}]},
            "spec.serving.podTemplate.extraVolumes[0].name",
        ),
    ],
)
def test_schema_violations_that_a_server_kept_name_the_field(path: str, value: Any, where: str) -> None:
    problem = find_problem(edge_model().set(path, value).build())
    assert problem is not None
    assert problem.reason == "InvalidSpec"
    assert where in problem.message
    assert "Correct it and apply again" in problem.message


def test_a_missing_field_is_named() -> None:
    problem = find_problem(edge_model().remove("model").build())
    assert problem is not None
    assert "'model'" in problem.message


def _structs(kind: types.Type) -> Iterator[type[Struct]]:
    """Every struct that is somewhere in ``kind``."""
    match kind:
        case types.StructType():
            yield cast(type[Struct], kind.cls)
            for field in kind.fields:
                yield from _structs(field.type)
        case types.UnionType():
            for member in kind.types:
                yield from _structs(member)
        case types.Metadata():
            yield from _structs(kind.type)
        case types.VarTupleType():
            yield from _structs(kind.item_type)


def test_every_cel_rule_is_checked_by_the_operator_too() -> None:
    """Servers before 1.25 drop the CEL rules; what one of them would say, the operator says."""
    violations: dict[str, list[tuple[str, Any]]] = {
        "mode Manual needs pruning or quantization": [("compression.mode", "Manual")],
        "pruning, quantization and recovery are only read in mode Manual: set mode to Manual or remove them": [
            ("compression.pruning", {"sparsity": "50%"})
        ],
        "recovery trains what pruning has hurt: add pruning, or remove recovery": [
            ("compression.mode", "Manual"),
            ("compression.quantization", {"method": "Dynamic"}),
            ("compression.recovery", {"epochs": 1}),
        ],
        "pruning needs sparsity or depth": [("compression.mode", "Manual"), ("compression.pruning", {})],
        "pruning.depth is measured on data: add compression.dataset": [
            ("compression.mode", "Manual"),
            ("compression.pruning", {"depth": "50%"}),
        ],
        "recovery trains on data: add compression.dataset": [
            ("compression.mode", "Manual"),
            ("compression.pruning", {"sparsity": "50%"}),
            ("compression.recovery", {"epochs": 1}),
        ],
        "4 bits are for quantization.method WeightOnly": [
            ("compression.mode", "Manual"),
            ("compression.quantization", {"method": "Dynamic", "bits": 4}),
        ],
        "static quantization is calibrated on data: add compression.dataset, or use quantization.method Dynamic": [
            ("compression.mode", "Manual"),
            ("compression.quantization", {"method": "Static"}),
        ],
        "objectives.maxAccuracyDrop is measured on data: add compression.dataset": [
            ("compression.objectives", {"maxAccuracyDrop": "1%"})
        ],
        "metric is measured on data: add compression.dataset": [("compression.metric", "Top5")],
        "judge is measured on data: add compression.dataset": [
            ("compression.judge", [{"output": "y", "maxDrop": "1%"}])
        ],
        "maxSize must be more than zero": [("compression.objectives", {"maxSize": "0Mi"})],
        "maxLatency must be more than zero": [("compression.objectives", {"maxLatency": "0.0ms"})],
        "the progress deadline must be more than zero": [("rollout.progressDeadline", "0s")],
        "the target latency must be more than zero": [("scaling.target", {"latency": "0ms"})],
        "maxReplicas must not be below minReplicas": [("scaling.minReplicas", 3), ("scaling.maxReplicas", 2)],
        "managedBy: External leaves the replicas to somebody else; remove maxReplicas and target": [
            ("scaling.managedBy", "External"),
            ("scaling.maxReplicas", 2),
        ],
        "the override's maxReplicas must not be below its minReplicas": [
            ("placement.overrides", [{"site": "a", "scaling": {"minReplicas": 3, "maxReplicas": 2}}])
        ],
        "annotations that begin with edge5g.io/ are the operator's": [
            ("serving.expose", {"annotations": {"edge5g.io/applied-hash": "0"}})
        ],
        "nodePort and grpcNodePort must differ": [
            ("serving.expose", {"type": "NodePort", "nodePort": 30080, "grpcNodePort": 30080})
        ],
        "nodePort and grpcNodePort go with type NodePort or LoadBalancer": [("serving.expose", {"nodePort": 30080})],
        "loadBalancerClass goes with type LoadBalancer": [
            ("serving.expose", {"type": "NodePort", "loadBalancerClass": "example.com/lb"})
        ],
        "a variable has value or valueFrom, not both": [
            ("serving.env", [{"name": "A", "value": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}])
        ],
        "valueFrom takes exactly one of secretKeyRef, configMapKeyRef and fieldRef": [
            ("compression.job.env", [{"name": "A", "valueFrom": {}}])
        ],
        "variables that begin with LD_, PYTHON, OPENSSL_, GCONV_, GLIBC_ can have the program load code of others": [
            ("serving.env", [{"name": "LD_PRELOAD", "value": "/mnt/extra/libs/own.so"}])
        ],
        "a setting of the program is no secret: where it cannot be read, its value is shown in the status": [
            (
                "serving.env",
                [{"name": "EDGEMODEL_THREADS", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one"}}}],
            )
        ],
        "this variable is the operator's: which model is served, where, and to whom is said by the spec's fields": [
            ("serving.env", [{"name": "EDGEMODEL_AUTH_DIR", "value": "/tmp"}])
        ],
        "a toleration whose operator is Exists has no value": [
            ("serving.podTemplate.tolerations", [{"key": "dedicated", "operator": "Exists", "value": "edge"}])
        ],
        "tolerationSeconds goes with effect NoExecute": [
            ("serving.podTemplate.tolerations", [{"key": "dedicated", "tolerationSeconds": 60}])
        ],
        "operators Exists and DoesNotExist take no values, the others need them": [
            (
                "compression.job.podTemplate.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In"}]}]},
            )
        ],
        "an extra volume is exactly one of secret, configMap and persistentVolumeClaim": [
            ("serving.podTemplate.extraVolumes", [{"name": "docker", "hostPath": {"path": "/var/run/docker.sock"}}])
        ],
        "labels that begin with edge5g.io/ or app.kubernetes.io/ are the operator's": [
            ("serving.podTemplate.labels", {"app.kubernetes.io/component": "compression"})
        ],
        "annotations of the operator, and those that choose an AppArmor or seccomp profile, are not taken": [
            (
                "serving.podTemplate.annotations",
                {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"},
            )
        ],
    }
    rules = {rule.message for part in _structs(types.type_info(Spec)) for rule in part.RULES}
    assert sorted(rules) == sorted(violations)
    for message in rules:
        problem = find_problem(changed(*violations[message]).build())
        assert problem is not None
        assert message in problem.message


def test_a_status_of_another_shape_counts_as_none() -> None:
    raw = edge_model().raw() | {"status": {"conditions": "none of them"}}
    assert parse(raw).status == Status()
