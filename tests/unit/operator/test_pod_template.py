"""What the spec says of pods is put beside what the operator asks of them, and takes nothing of it away."""

from dataclasses import replace
from typing import Any

import pytest

from edgemodel_operator.manifests.deployment import build_deployment, site_serving
from edgemodel_operator.manifests.job import build_job
from edgemodel_operator.manifests.names import serving_selector
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.policy.task import desired_task
from tests.unit.operator.builders import SETTINGS, ModelBuilder, edge_model, image
from tests.unit.operator.pods import (
    GPU,
    JOBS,
    PREFERRED,
    REQUIRED,
    SERVERS,
    SHARED,
    SPREAD,
    SSD,
    VARIABLES,
)


def server(builder: ModelBuilder, site: str = "site-a") -> Object:
    spec = builder.spec()
    built = build_deployment(builder.build(), spec, site_serving(spec, site, image(1)), 2, SETTINGS)
    template: Object = built["spec"]["template"]
    return template


def job(builder: ModelBuilder) -> Object:
    model, spec = builder.build(), builder.spec()
    built = build_job(model, spec, desired_task(model, spec, SETTINGS), 1, True, SETTINGS)
    template: Object = built["spec"]["template"]
    return template


BOTH = pytest.mark.parametrize(
    ("template", "plain"),
    [(server(SERVERS), server(edge_model())), (job(JOBS), job(edge_model()))],
    ids=["server", "job"],
)


def contains(whole: Any, part: Any) -> bool:
    """Whether all of ``part`` stands in ``whole``: of lists each entry, of objects each field."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(one, item) for one in whole) for item in part)
    return bool(whole == part)


@BOTH
def test_what_the_operator_asks_for_is_all_there(template: Object, plain: Object) -> None:
    # The Job's own wish to be off the edge gives way to nodes that were named.
    whole = {name: part for name, part in plain["spec"].items() if name != "affinity"}
    assert contains(template, {"metadata": plain["metadata"], "spec": whole})


@BOTH
def test_all_that_is_asked_for_is_there(template: Object, plain: Object) -> None:
    pod = template["spec"]
    assert template["metadata"]["labels"]["team"] == "vision"
    assert template["metadata"]["annotations"] == SHARED["annotations"]
    assert contains(pod["tolerations"], SHARED["tolerations"])
    assert len(pod["tolerations"]) == len(plain["spec"].get("tolerations", [])) + 1
    for name in ("priorityClassName", "runtimeClassName", "serviceAccountName"):
        assert pod[name] == SHARED[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["imagePullSecrets"] == [{"name": "mirror"}]
    (container,) = pod["containers"]
    assert contains(container["env"], VARIABLES)


@BOTH
def test_further_volumes_are_read_only_and_in_a_place_of_their_own(template: Object, plain: Object) -> None:
    pod = template["spec"]
    sources = {item["name"]: {k: v for k, v in item.items() if k != "name"} for item in pod["volumes"]}
    assert sources["extra-ca"] == {"configMap": {"name": "corporate-ca", "optional": True}}
    assert sources["extra-keys"] == {"secret": {"secretName": "telemetry"}}
    assert sources["extra-data"] == {"persistentVolumeClaim": {"claimName": "shared", "readOnly": True}}
    mounts = [item for item in pod["containers"][0]["volumeMounts"] if item["name"].startswith("extra-")]
    assert {item["mountPath"] for item in mounts} == {"/mnt/extra/ca", "/mnt/extra/keys", "/mnt/extra/data"}
    assert all(item["readOnly"] for item in mounts)
    assert len(pod["volumes"]) == len(plain["spec"].get("volumes", [])) + 3


@pytest.mark.parametrize("site", ["site-a", "default"])
def test_a_server_is_on_a_node_that_is_of_its_site_and_as_its_owner_wants(site: str) -> None:
    plain = server(edge_model(), site)["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    nodes = server(SERVERS, site)["spec"]["affinity"]["nodeAffinity"]
    terms = [term["matchExpressions"] for term in nodes[REQUIRED]["nodeSelectorTerms"]]
    assert terms == [[*one["matchExpressions"], wanted] for one in plain for wanted in (SSD, GPU)]
    assert nodes[PREFERRED] == [{"weight": 10, "preference": {"matchExpressions": [GPU]}}]


def test_a_job_whose_nodes_are_named_may_be_at_the_edge() -> None:
    nodes = job(JOBS)["spec"]["affinity"]["nodeAffinity"]
    assert [term["matchExpressions"] for term in nodes[REQUIRED]["nodeSelectorTerms"]] == [[SSD], [GPU]]


def test_a_job_that_only_prefers_nodes_stays_off_the_edge() -> None:
    prefers = {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": {"matchExpressions": [GPU]}}]}}
    found = job(edge_model().set("compression.job.podTemplate", prefers))["spec"]["affinity"]["nodeAffinity"]
    plain = job(edge_model())["spec"]["affinity"]["nodeAffinity"]
    assert found[REQUIRED] == plain[REQUIRED]
    assert PREFERRED in found


def test_servers_are_spread_over_their_sites_nodes_or_as_their_owner_wants() -> None:
    selector = {"matchLabels": serving_selector("digits", "site-a")}
    (usual,) = server(edge_model())["spec"]["topologySpreadConstraints"]
    assert usual == {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    builder = edge_model().set("serving.podTemplate", {"topologySpreadConstraints": [SPREAD]})
    assert server(builder)["spec"]["topologySpreadConstraints"] == [SPREAD | {"labelSelector": selector}]


def test_a_site_may_read_a_variable_from_elsewhere() -> None:
    override = {"site": "site-a", "serving": {"env": [{"name": "PLAIN", "valueFrom": VARIABLES[0]["valueFrom"]}]}}
    template = server(SERVERS.set("placement.overrides", [override]))
    (found,) = [item for item in template["spec"]["containers"][0]["env"] if item["name"] == "PLAIN"]
    assert found == {"name": "PLAIN", "valueFrom": VARIABLES[0]["valueFrom"]}


def test_a_pull_secret_that_is_the_operators_too_is_named_once() -> None:
    spec, builder = SERVERS.spec(), SERVERS
    settings = replace(SETTINGS, registry_secret="mirror")
    built = build_deployment(builder.build(), spec, site_serving(spec, "site-a", image(1)), 1, settings)
    assert built["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "mirror"}]
