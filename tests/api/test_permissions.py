"""The operator works under least permissions: what it does not need, it may not do."""

import pytest

from tests.api.operator_process import OperatorProcess
from tests.api.world import World
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.native.control_plane import ControlPlane

pytestmark = [pytest.mark.api]

ACCOUNT = "system:serviceaccount:edgemodel-system:edgemodel-operator"

FORBIDDEN = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("create", "secrets"),
    ("create", "edgemodels.edge5g.io"),
    ("update", "edgemodels.edge5g.io"),
    ("patch", "edgemodels.edge5g.io"),
    ("delete", "edgemodels.edge5g.io"),
    ("create", "pods"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("patch", "nodes"),
    ("create", "serviceaccounts/token"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("patch", "clusterroles.rbac.authorization.k8s.io"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("impersonate", "users"),
]


@pytest.mark.parametrize(("verb", "resource"), FORBIDDEN, ids=[" ".join(row) for row in FORBIDDEN])
def test_the_service_account_may_not(plane: ControlPlane, api: object, verb: str, resource: str) -> None:
    assert api
    asked = plane.kubectl("auth", "can-i", verb, resource, "--all-namespaces", f"--as={ACCOUNT}", check=False)
    assert asked.stdout.strip() == "no"


def test_the_token_that_the_operator_runs_with_reads_no_secret_and_writes_no_spec(
    world: World, plane: ControlPlane
) -> None:
    model = world.create(suspend=True)
    kubeconfig = plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator")
    kubectl = Kubectl(plane.assets.kubectl, kubeconfig)
    secrets = kubectl("get", "secrets", "-n", world.namespace, check=False)
    assert "forbidden" in secrets.stderr.lower()
    assert "edgemodel-operator" in secrets.stderr
    patch = kubectl(
        *("patch", "em", model.name, "-n", world.namespace, "--type=merge", "-p", '{"spec":{"suspend":false}}'),
        check=False,
    )
    assert "forbidden" in patch.stderr.lower()
    assert model.read()["spec"]["suspend"] is True


def test_users_with_the_view_role_see_models_and_with_the_edit_role_change_them(
    world: World, plane: ControlPlane
) -> None:
    for role, person in (("view", "vera"), ("edit", "edith")):
        plane.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={person}", "-n", world.namespace)

    def may(person: str, verb: str) -> bool:
        asked = ("auth", "can-i", verb, "edgemodels.edge5g.io", "-n", world.namespace, f"--as={person}")
        return plane.kubectl(*asked, check=False).stdout.strip() == "yes"

    assert may("vera", "list")
    assert not may("vera", "patch")
    assert may("edith", "create")
    assert may("edith", "delete")


def _verb(labels: str) -> str:
    return labels.partition('verb="')[2].partition('"')[0]


def test_nothing_that_the_operator_does_is_forbidden(world: World, operator: OperatorProcess) -> None:
    said = len(operator.log.read_text())
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    digits.edit({"model": {"uri": "oci://registry.test/models/digits:v2"}})
    digits.bring_to_ready("site-a", "site-b", image_digest="2" * 64)
    calls = operator.samples("edgemodel_operator_api_requests_total")
    assert {labels for labels in calls if 'code="401"' in labels or 'code="403"' in labels} == set()
    assert {_verb(labels) for labels in calls} >= {"get", "patch", "post", "delete"}
    assert "forbidden" not in operator.log.read_text()[said:].lower()
