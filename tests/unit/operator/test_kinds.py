"""The registry of kinds, and the ClusterRole that has to allow exactly what it says."""

from pathlib import Path

import yaml

from edgemodel_operator.api.labels import MODEL_LABEL
from edgemodel_operator.kube.cache import Store
from edgemodel_operator.kube.kinds import CHILD_KINDS, KINDS, LEASE, rules
from edgemodel_operator.runtime.leadership import LEASE_NAME

BASE = Path(__file__).parents[3] / "manifests" / "base"
RBAC = BASE / "rbac.yaml"


def test_the_cluster_role_allows_what_the_operator_does_and_nothing_else() -> None:
    role = yaml.safe_load((BASE / "cluster-role.yaml").read_text())
    allowed = [
        (group, resource, tuple(rule["verbs"]))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    ]
    assert allowed == rules()
    (binding,) = [item for item in yaml.safe_load_all(RBAC.read_text()) if item["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]


def test_a_role_allows_the_lease_by_which_operators_take_turns_and_nothing_else() -> None:
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    (role,) = [item for item in documents if item["kind"] == "Role"]
    (binding,) = [item for item in documents if item["kind"] == "RoleBinding"]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LEASE_NAME}
    lease = {"apiGroups": [LEASE.group], "resources": [LEASE.plural]}
    # Who creates something names it in the body, where RBAC does not look.
    named = {"resourceNames": [LEASE_NAME], "verbs": [verb for verb in LEASE.verbs if verb != "create"]}
    assert role["rules"] == [lease | {"verbs": ["create"]}, lease | named]


def test_paths_are_those_of_the_api() -> None:
    assert KINDS["Pod"].root() == "/api/v1"
    assert KINDS["Deployment"].root() == "/apis/apps/v1"


def test_children_are_watched_by_their_label() -> None:
    assert all(KINDS[name].watched and KINDS[name].is_selected for name in CHILD_KINDS)


def test_what_an_older_server_calls_a_kind_is_stored_as_what_is_written() -> None:
    store = Store()
    labels = {MODEL_LABEL: "digits"}
    meta = {"name": "digits-site-a", "namespace": "default", "labels": labels, "resourceVersion": "7"}
    store.put("PodDisruptionBudget", {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": meta})
    (stored,) = store.children("PodDisruptionBudget", ("default", "digits")).values()
    assert stored["apiVersion"] == KINDS["PodDisruptionBudget"].api_version == "policy/v1"
