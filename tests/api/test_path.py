"""From ``kubectl apply`` to Ready: what a user and a GitOps pipeline see on the way."""

import pytest

from edgemodel_contract.result import decode_result
from tests.api.client import Api, Object
from tests.api.edge_model import server_container
from tests.api.operator_process import COMPRESSION_IMAGE, INFERENCE_IMAGE, REPOSITORY, OperatorProcess
from tests.api.world import URI, World
from tools.localcluster.native.control_plane import ControlPlane

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

APPLIED = f"""
apiVersion: edge5g.io/v1alpha1
kind: EdgeModel
metadata: {{name: digits}}
spec:
  model: {{uri: "{URI}"}}
  serving:
    classNames: [zero, one]
    resources: {{limits: {{cpu: 1500m, memory: 512Mi}}}}
"""


def test_an_applied_model_is_compressed_and_rolled_out_wave_by_wave(world: World, plane: ControlPlane) -> None:
    plane.kubectl.apply("-n", world.namespace, "-f", "-", input=APPLIED)
    digits = world.handle("digits")

    task, job = digits.task()
    assert task.model.uri == URI
    assert task.serving.class_names == ("zero", "one")
    assert task.serving.threads == 2
    assert (task.base_image, task.engine) == (INFERENCE_IMAGE, COMPRESSION_IMAGE)
    assert task.repository == f"{REPOSITORY}/{world.namespace}/digits"
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["image"] == COMPRESSION_IMAGE
    digits.wait_for("Ready", "False", "Compressing")
    assert digits.condition("Reconciling")["status"] == "True"
    assert digits.children("Deployment") == []

    image = digits.finish_job()
    digits.wait_for("Compressed", "True", "Compressed")
    first = digits.wait_for_deployment("site-a")
    assert server_container(first)["image"] == image
    digits.wait_for("Ready", "False", "RollingOut")
    assert digits.deployment("site-b") is None, "the second wave began before the first one was available"

    digits.serve("site-a")
    digits.wait_for_image("site-b", image)
    assert digits.condition("Ready")["status"] == "False"
    digits.serve("site-b")

    plane.kubectl("wait", "--for=condition=Ready", "-n", world.namespace, "em/digits", "--timeout=30s")
    assert [site["state"] for site in digits.status["sites"]] == ["Ready", "Ready"]
    assert {site["image"] for site in digits.status["sites"]} == {image}
    assert digits.status["model"]["image"] == image


def test_the_status_of_a_ready_model_tells_what_was_measured(world: World) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    status = digits.status
    assert status["summary"] == {
        "size": "46.8→11.8 MB",
        "latency": "34.2ms→11.4ms",
        "accuracy": "98.10→97.80%",
        "sites": "2/2",
    }
    assert status["compression"]["chosen"]["method"] == "static-int8"
    assert status["compression"]["cpu"] == "Test CPU"
    assert status["model"]["sourceDigest"] == f"sha256:{'a' * 64}"
    assert (status["readySites"], status["totalSites"]) == (2, 2)
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    assert "static-int8" in digits.condition("Compressed")["message"]


def test_the_result_in_the_status_is_that_of_the_termination_message(world: World) -> None:
    digits = world.create()
    digits.finish_job("d" * 64)
    digits.wait_for("Compressed", "True")
    message = digits.job_pod()["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    result = decode_result(message)
    assert digits.status["model"]["task"] == result.task
    assert digits.status["model"]["image"].endswith("d" * 64)


def test_conditions_are_kstatus_and_speak_about_the_present_generation(world: World) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    digits.edit({"serving": {"env": [{"name": "GREETING", "value": "hello"}]}})
    digits.wait_for("Ready", "False", "RollingOut")
    for site in ("site-a", "site-b"):
        digits.serve(site)
    digits.wait_for("Ready", "True")

    raw = digits.read()
    generation = raw["metadata"]["generation"]
    assert generation == 2
    assert raw["status"]["observedGeneration"] == generation
    conditions = {item["type"]: item for item in raw["status"]["conditions"]}
    assert {item["observedGeneration"] for item in conditions.values()} == {generation}
    assert {kind: item["status"] for kind, item in conditions.items()} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Compressed": "True",
        "Available": "True",
        "Progressing": "False",
        "ScalingActive": "False",
    }
    assert all(item["reason"] and item["message"] and item["lastTransitionTime"] for item in conditions.values())


def test_a_change_of_serving_only_is_rolled_out_without_another_compression(world: World) -> None:
    digits = world.create()
    image = digits.bring_to_ready("site-a", "site-b")
    jobs = [item["metadata"]["uid"] for item in digits.children("Job")]
    digits.edit({"serving": {"env": [{"name": "GREETING", "value": "hello"}]}})
    digits.wait_for_site("site-a", "Progressing")
    digits.serve("site-a", image)
    digits.serve("site-b", image)
    digits.wait_for("Ready", "True")
    for site in ("site-a", "site-b"):
        deployment = digits.deployment(site)
        assert deployment is not None
        assert {"name": "GREETING", "value": "hello"} in server_container(deployment)["env"]
    assert [item["metadata"]["uid"] for item in digits.children("Job")] == jobs


def test_a_new_version_remembers_the_one_before(world: World) -> None:
    digits = world.create()
    first = digits.bring_to_ready("site-a", "site-b", image_digest="1" * 64)
    digits.edit({"model": {"uri": "oci://registry.test/models/digits:v2"}})
    second = digits.bring_to_ready("site-a", "site-b", image_digest="2" * 64)
    assert digits.status["model"]["image"] == second
    assert digits.status["model"]["previousImage"] == first
    assert len(digits.children("Job")) == len(digits.children("ConfigMap")) == 1


def test_each_transition_is_told_once(world: World, operator: OperatorProcess) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    operator.wait_for_resync()
    told: list[Object] = digits.events()
    said = [(event["reason"], event["message"]) for event in told]
    assert sorted(set(said)) == sorted(said), "an event was repeated"
    assert not [event for event in told if event.get("series")], "an event was said again"
    reasons = [event["reason"] for event in told]
    assert {"Compressed", "RollingOut", "Ready"} <= set(reasons)
    assert reasons.index("Compressed") < reasons.index("Ready")
    assert {event["type"] for event in told} == {"Normal"}
    assert {event["reportingComponent"] for event in told} == {"edge5g.io/edgemodel-operator"}
    ready = told[reasons.index("Ready")]
    assert ready["message"].startswith("2 of 2 sites serve registry.test/")


def test_a_paused_rollout_goes_on_where_it_stopped(world: World) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    digits.edit({"rollout": {"paused": True}, "serving": {"env": [{"name": "A", "value": "1"}]}})
    digits.wait_for("Ready", "False", "RolloutPaused")
    before = [digits.deployment(site) for site in ("site-a", "site-b")]
    assert not any({"name": "A", "value": "1"} in server_container(item)["env"] for item in before if item)
    digits.edit({"rollout": {"paused": False}})
    for site in ("site-a", "site-b"):
        digits.serve(site)
    digits.wait_for("Ready", "True")


def test_suspend_stops_acting_and_leaves_what_runs(world: World, api: Api) -> None:
    digits = world.create()
    image = digits.bring_to_ready("site-a", "site-b")
    digits.edit({"suspend": True, "model": {"uri": "oci://registry.test/models/digits:v2"}})
    digits.wait_for("Ready", "False", "Suspended")
    api.delete("Service", world.namespace, "digits-site-a")
    digits.nudge("look")
    digits.wait_for("Progressing", "False", "Suspended")
    assert digits.image("site-a") == digits.image("site-b") == image
    assert len(digits.children("Service")) == 1
    digits.edit({"suspend": False})
    digits.bring_to_ready("site-a", "site-b", image_digest="2" * 64)
    assert len(digits.children("Service")) == 2
