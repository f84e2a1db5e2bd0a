"""What goes wrong on sites, and stays there: no nodes, no room, no image, no link."""

import pytest

from tests.api import pod_statuses
from tests.api.edge_model import SERVER, server_container
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import steady
from tests.api.world import ZONE_LABEL, World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]


def test_without_a_matching_node_the_selector_is_named_until_one_comes(world: World) -> None:
    digits = world.create(placement={"nodeSelector": {"test": world.namespace}})
    image = digits.finish_job()
    ready = digits.wait_for("Ready", "False", "NoMatchingNodes")
    assert f"test={world.namespace}" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    world.add_node("node", {"test": world.namespace, ZONE_LABEL: "harbour"})
    digits.serve("harbour", image)
    digits.wait_for("Ready", "True")


def test_nodes_without_the_site_label_form_the_default_site(world: World) -> None:
    world.add_node("node", {"test": world.namespace})
    digits = world.create(placement={"nodeSelector": {"test": world.namespace}})
    digits.bring_to_ready("default")
    affinity = digits.wait_for_deployment("default")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {"key": ZONE_LABEL, "operator": "DoesNotExist"} in terms[0]["matchExpressions"]


def test_a_named_site_that_does_not_exist_is_named(world: World) -> None:
    placement = world.own_site("east") | {"sites": ["east", "atlantis"]}
    digits = world.create(placement=placement)
    digits.finish_job()
    digits.serve("east")
    ready = digits.wait_for("Ready", "False", "SitesMissing")
    assert "atlantis" in ready["message"]
    digits.wait_for_site("east", "Ready")
    digits.edit({"placement": {"sites": ["east"]}})
    digits.wait_for("Ready", "True")


def test_a_site_that_loses_its_last_node_loses_its_children_and_the_others_stay(world: World) -> None:
    digits = world.create(placement=world.own_site("east", "west"))
    digits.bring_to_ready("east", "west")
    world.api.delete("Node", "", world.node("west"))
    ready = digits.wait_for("Ready", "True")
    digits.wait_for_children(1)
    assert digits.deployment("east") is not None
    assert digits.deployment("west") is None
    assert ready["observedGeneration"] == 1


def test_a_site_without_room_says_what_the_scheduler_said(world: World) -> None:
    digits = world.create()
    image = digits.finish_job()
    pod = digits.wait_for_server_pod("site-a")
    digits.patch_pod(pod, pod_statuses.unschedulable("0/3 nodes are available: 1 Insufficient cpu."))
    digits.wait_for_site("site-a", "Degraded", "InsufficientCapacity")
    ready = digits.wait_for("Ready", "False", "InsufficientCapacity")
    assert "1 Insufficient cpu" in ready["message"]
    assert "Site site-a" in ready["message"]
    assert digits.deployment("site-b") is None, "a version that does not stand in the first wave went on"
    digits.make_ready("site-a")
    digits.serve("site-b", image)
    digits.wait_for("Ready", "True")


def test_an_image_that_one_site_cannot_pull_leaves_the_other_one_serving(world: World) -> None:
    digits = world.create()
    digits.finish_job()
    digits.serve("site-a")
    pod = digits.wait_for_server_pod("site-b")
    status = pod_statuses.waiting(SERVER, "ImagePullBackOff", "dial tcp: no route to host.")
    digits.patch_pod(pod, status)
    ready = digits.wait_for("Ready", "False", "ImagePullFailed")
    assert "Site site-b" in ready["message"]
    assert "no route to host" in ready["message"]
    assert digits.site("site-a")["state"] == "Ready"
    assert digits.status["summary"]["sites"] == "1/2"
    assert [event["type"] for event in digits.events() if event["reason"] == "ImagePullFailed"] == ["Warning"]
    digits.make_ready("site-b")
    digits.wait_for("Ready", "True")


def test_a_server_that_crashes_in_the_first_wave_stops_the_rollout(world: World) -> None:
    digits = world.create()
    old = digits.bring_to_ready("site-a", "site-b", image_digest="1" * 64)
    digits.edit({"model": {"uri": "oci://registry.test/models/digits:v2"}})
    new = digits.finish_job("2" * 64)
    digits.wait_for_image("site-a", new)
    pod = digits.wait_for_server_pod("site-a")
    digits.patch_pod(pod, pod_statuses.crashing(SERVER, 1, "Error", "the model needs an input of 1×3×32×32"))
    ready = digits.wait_for("Ready", "False", "ServerCrashing")
    assert "1×3×32×32" in ready["message"]
    assert digits.image("site-b") == old
    assert digits.site("site-a")["readyReplicas"] == 1, "the pod of the version before was taken away"
    assert digits.condition("Available")["status"] == "True"


def test_a_site_that_never_settles_stops_the_rollout_unless_it_may_fail(world: World) -> None:
    digits = world.create()
    old = digits.bring_to_ready("site-a", "site-b", image_digest="1" * 64)
    digits.edit(
        {"model": {"uri": "oci://registry.test/models/digits:v2"}, "rollout": {"waves": [1], "progressDeadline": "5s"}}
    )
    new = digits.finish_job("2" * 64)
    digits.wait_for_image("site-a", new)
    stalled = digits.wait_for("Stalled", "True", "ProgressDeadlineExceeded")
    assert "The rollout has stopped, 1 sites wait: 1 failed (site-a)" in stalled["message"]
    assert digits.status["rollout"]["state"] == "Stopped"
    assert digits.status["rollout"]["failedSites"] == ["site-a"]
    assert digits.site("site-b")["reason"] == "RolloutStopped"
    assert digits.image("site-b") == old
    digits.edit({"rollout": {"maxFailedSites": "50%"}})
    digits.wait_for_image("site-b", new)
    digits.make_ready("site-b")
    digits.make_ready("site-a")
    digits.wait_for("Ready", "True")
    rollout = digits.status["rollout"]
    assert (rollout["state"], rollout["wave"], rollout["of"], rollout["updatedSites"]) == ("Complete", 2, 2, 2)
    assert "failedSites" not in rollout


def test_a_site_without_its_link_is_disconnected_not_degraded_and_left_alone(world: World) -> None:
    digits = world.create(placement=world.own_site("east", "west"))
    digits.bring_to_ready("east", "west", image_digest="1" * 64)
    world.set_ready(world.node("west"), False)
    digits.wait_for_site("west", "Disconnected")
    ready = digits.wait_for("Ready", "True")
    assert "west" in ready["message"]

    before = digits.deployment("west")
    digits.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    digits.serve("east")
    behind = digits.wait_for("Ready", "True")
    assert "west" in behind["message"]
    assert digits.deployment("west") == before, "something was written to the Deployment of a site without its link"

    digits.edit({"model": {"uri": "oci://registry.test/models/digits:v2"}})
    image = digits.finish_job("2" * 64)
    digits.serve("east", image)
    assert "west" in digits.wait_for("Ready", "False", "SitesDisconnected")["message"]
    assert digits.deployment("west") == before

    world.set_ready(world.node("west"), True)
    digits.serve("west", image)
    digits.wait_for("Ready", "True")
    assert {"name": "A", "value": "1"} in server_container(digits.wait_for_deployment("west"))["env"]


def test_a_child_of_a_disconnected_site_is_not_healed_before_the_link_is(
    world: World, operator: OperatorProcess
) -> None:
    digits = world.create(placement=world.own_site("east"))
    digits.bring_to_ready("east")
    world.set_ready(world.node("east"), False)
    digits.wait_for_site("east", "Disconnected")
    world.api.delete("Service", world.namespace, "digits-east")
    digits.nudge("look")
    operator.settle()
    steady("the operator's writes", operator.writes, seconds=1)
    assert digits.children("Service") == []
    world.set_ready(world.node("east"), True)
    digits.wait_for_site("east", "Ready")
    digits.wait_for_children(1)


def test_a_site_serves_with_its_own_overrides(world: World) -> None:
    override = {
        "site": "west",
        "serving": {"env": [{"name": "A", "value": "west"}]},
        "scaling": {"minReplicas": 2},
    }
    placement = world.own_site("east", "west") | {"overrides": [override]}
    digits = world.create(placement=placement, serving={"env": [{"name": "A", "value": "all"}]})
    image = digits.finish_job()
    for site in ("east", "west"):
        digits.serve(site, image)
    digits.wait_for_pods("west", 2)
    digits.make_ready("west")
    digits.wait_for("Ready", "True")
    values = {}
    for site in ("east", "west"):
        env = {item["name"]: item["value"] for item in server_container(digits.wait_for_deployment(site))["env"]}
        values[site] = env["A"]
    assert values == {"east": "all", "west": "west"}
    assert len(digits.server_pods("west")) == 2
    assert len(digits.server_pods("east")) == 1
