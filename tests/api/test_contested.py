"""Others change what the operator made: it yields to who does so again and again, says so, and never fights."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.api.client import Api, Object
from tests.api.edge_model import Model, server_container
from tests.api.injector import INJECTED, injecting
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import World
from tools.localcluster.native.control_plane import ControlPlane

pytestmark = [pytest.mark.api]

Injector = Callable[[ControlPlane, Api, str], AbstractContextManager[None]]


def autoscaler(world: World, model: Model, site: str, minimum: int) -> Object:
    """A HorizontalPodAutoscaler. Its controller needs no metrics to keep a Deployment at its minimum."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{model.name}-{site}"}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"{model.name}-{site}", "namespace": world.namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": minimum, "maxReplicas": 5},
    }


def replicas(model: Model, site: str) -> int:
    """What the Deployment of the site asks for."""
    return int(model.wait_for_deployment(site)["spec"]["replicas"])


def serve_all(model: Model, site: str) -> None:
    """Let every pod that comes become ready, until the EdgeModel is."""

    def ready() -> bool:
        model.make_ready(site)
        generation, condition = model.read()["metadata"]["generation"], model.condition("Ready")
        return condition.get("status") == "True" and condition["observedGeneration"] == generation

    eventually(f"all servers of {site}", ready, seconds=60, explain=model.explain)


def test_an_autoscaler_that_nobody_told_the_operator_of_is_yielded_to(
    world: World, api: Api, operator: OperatorProcess
) -> None:
    model = world.create(placement=world.own_site("east"))
    model.bring_to_ready("east")
    api.create(autoscaler(world, model, "east", 3))
    said = model.wait_for("ScalingActive", "False", "ReplicasContested")
    assert "spec.scaling.managedBy" in said["message"]
    assert "east" in said["message"]
    eventually("3 replicas", lambda: replicas(model, "east") == 3)
    generation = model.wait_for_deployment("east")["metadata"]["generation"]
    operator.wait_for_resync()
    operator.wait_for_resync()
    deployment = model.wait_for_deployment("east")
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (3, generation)
    assert [event["type"] for event in model.events() if event["reason"] == "ReplicasContested"] == ["Warning"]

    operator.kill()
    operator.start()
    model.nudge("look")
    operator.settle()
    assert model.wait_for_deployment("east")["metadata"]["generation"] == generation, "a restart does not fight anew"

    model.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    serve_all(model, "east")
    assert replicas(model, "east") == 3, "a version does not bring back what the operator would ask for"

    api.delete("HorizontalPodAutoscaler", world.namespace, "digits-east")
    model.edit({"scaling": {"minReplicas": 2}})
    eventually("the operator's replicas", lambda: replicas(model, "east") == 2)
    model.wait_for("ScalingActive", "False", "NoTarget")


def test_replicas_that_are_left_to_an_autoscaler_are_its_own(world: World, api: Api, operator: OperatorProcess) -> None:
    model = world.create(placement=world.own_site("east"), scaling={"minReplicas": 2})
    model.finish_job()
    serve_all(model, "east")
    model.edit({"scaling": {"managedBy": "External"}})
    model.wait_for("ScalingActive", "False", "External")
    operator.settle()
    assert replicas(model, "east") == 2, "to leave them alone is not to set them to one"
    api.create(autoscaler(world, model, "east", 4))
    eventually("4 replicas", lambda: replicas(model, "east") == 4)
    model.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    serve_all(model, "east")
    operator.wait_for_resync()
    assert replicas(model, "east") == 4
    assert "ReplicasContested" not in [event["reason"] for event in model.events()]
    assert model.condition("ScalingActive")["reason"] == "External"

    api.delete("HorizontalPodAutoscaler", world.namespace, "digits-east")
    model.edit({"scaling": {"managedBy": "Operator"}})
    eventually("the operator's replicas", lambda: replicas(model, "east") == 2)


def test_a_new_site_of_a_model_whose_replicas_are_left_starts_with_one(world: World, operator: OperatorProcess) -> None:
    model = world.create(placement=world.own_site("east"), scaling={"minReplicas": 3, "managedBy": "External"})
    model.bring_to_ready("east")
    assert replicas(model, "east") == 1
    owners = [
        item["manager"]
        for item in model.wait_for_deployment("east")["metadata"]["managedFields"]
        if "f:replicas" in item.get("fieldsV1", {}).get("f:spec", {})
    ]
    assert "edgemodel-operator" not in owners
    assert operator.alive


def test_a_paused_deployment_says_why_the_version_does_not_come(
    world: World, plane: ControlPlane, operator: OperatorProcess
) -> None:
    model = world.create(placement=world.own_site("east"))
    model.bring_to_ready("east")
    plane.kubectl("rollout", "pause", "deployment/digits-east", "-n", world.namespace)
    operator.settle()
    assert model.condition("Ready")["status"] == "True", "nothing is to be rolled out"
    model.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    ready = model.wait_for("Ready", "False", "DeploymentPaused")
    assert "kubectl rollout resume deployment/digits-east" in ready["message"]
    assert "1 of its replicas serve meanwhile" in ready["message"]
    assert model.condition("Stalled")["status"] == "True"
    plane.kubectl("rollout", "resume", "deployment/digits-east", "-n", world.namespace)
    model.serve("east")
    model.wait_for("Ready", "True")


@contextmanager
def policy(plane: ControlPlane, api: Api, namespace: str) -> Iterator[None]:
    """A MutatingAdmissionPolicy that does what the webhook does."""
    if not api.serves("MutatingAdmissionPolicy"):
        pytest.skip(f"Kubernetes {plane.assets.version} has no MutatingAdmissionPolicy in v1; the webhook is tested")
    env = "object.spec.template.spec.containers[0].env"
    value = f"{{name: '{INJECTED['name']}', value: '{INJECTED['value']}'}}"
    expression = (
        "[JSONPatch{op: 'add', path: '/spec/template/spec/containers/0/env/-', "
        f"value: Object.spec.template.spec.containers.env{value}}}]"
    )
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    api.merge("Namespace", "", namespace, {"metadata": {"labels": {"injector": namespace}}})
    api.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [rule | {"resources": ["deployments"]}],
                    "namespaceSelector": {"matchLabels": {"injector": namespace}},
                },
                "reinvocationPolicy": "Never",
                "matchConditions": [{"name": "once", "expression": f"!{env}.exists(e, e.name == 'INJECTED')"}],
                "failurePolicy": "Fail",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        }
    )
    api.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": namespace},
            "spec": {"policyName": namespace},
        }
    )
    try:
        yield
    finally:
        api.delete("MutatingAdmissionPolicyBinding", "", namespace)
        api.delete("MutatingAdmissionPolicy", "", namespace)


@pytest.mark.parametrize("inject", [injecting, policy], ids=["webhook", "policy"])
def test_what_the_cluster_itself_adds_is_not_taken_out_at_each_look(
    world: World, plane: ControlPlane, api: Api, operator: OperatorProcess, inject: Injector
) -> None:
    model = world.create(placement=world.own_site("east"))
    image = model.finish_job()
    with inject(plane, api, world.namespace):
        eventually("the cluster to add it", lambda: INJECTED in _probe(api, world.namespace))
        model.serve("east", image)
        model.wait_for("Ready", "True")
        operator.settle()
        writes, generation = operator.writes(), model.wait_for_deployment("east")["metadata"]["generation"]
        operator.wait_for_resync()
        model.nudge("look")
        operator.wait_for_resync()
        assert operator.writes() == writes
        model.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
        model.serve("east")
        model.wait_for("Ready", "True")
        deployment = model.wait_for_deployment("east")
        assert INJECTED in server_container(deployment)["env"]
        assert deployment["metadata"]["generation"] > generation, "a change of the spec gets through"


def _probe(api: Api, namespace: str) -> list[Object]:
    """The variables of a Deployment that is made now: webhooks and policies take a moment to be in force."""
    labels = {"app": "probe"}
    container = {"name": "web", "image": "example.com/web:1", "env": [{"name": "B", "value": "2"}]}
    made = api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"generateName": "probe-", "namespace": namespace},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
    )
    api.delete("Deployment", namespace, made["metadata"]["name"])
    env: list[Object] = made["spec"]["template"]["spec"]["containers"][0]["env"]
    return env


def test_a_manager_that_undoes_every_correction_is_left_its_way(
    world: World, api: Api, operator: OperatorProcess
) -> None:
    model = world.create(placement=world.own_site("east"))
    model.bring_to_ready("east")
    added = {"name": "ADDED", "value": "by another manager"}
    container = {"name": "server", "env": [added]}
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits-east", "namespace": world.namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }

    def contested() -> bool:
        if added not in server_container(model.wait_for_deployment("east"))["env"]:
            api.apply(theirs, "somebody")
        return bool(model.condition("Ready").get("reason") == "ChildContested")

    eventually("the operator to yield", contested, explain=model.explain)
    said = model.wait_for("Ready", "False", "ChildContested")
    assert "Deployment/digits-east" in said["message"]
    assert "containers[server].env[ADDED]" in said["message"]
    operator.settle()
    steady("the operator's writes", operator.writes, seconds=2)
    api.apply(theirs | {"spec": {}}, "somebody")
    model.nudge("look")
    serve_all(model, "east")
