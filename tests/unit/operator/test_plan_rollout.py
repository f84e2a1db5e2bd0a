"""The plan once there is a version: sites, waves, scaling, and what people and networks do to them."""

from datetime import timedelta

import pytest

from edgemodel_operator.api import EDGE_NODE_LABEL, RolloutStatus
from edgemodel_operator.api.names import NODE_SITE_LABEL
from edgemodel_operator.observed import Object, SiteLatency, timestamp
from edgemodel_operator.plan.children import Ref, Scale
from tests.unit.operator.builders import edge_model, image, node, success
from tests.unit.operator.world import World, nothing_to_do

FOUR = ("site-a", "site-b", "site-c", "site-d")
NEW = "https://models.example/better.onnx"


def node_selector_terms(deployment: Object) -> list[Object]:
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms: list[Object] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return terms


def matches(term: Object, labels: dict[str, str]) -> bool:
    """As the scheduler reads it."""
    return all(
        labels.get(item["key"]) in item["values"] if item["operator"] == "In" else item["key"] not in labels
        for item in term["matchExpressions"]
    )


def updating(world: World, version: int = 2) -> World:
    """A world that serves version 1 and has version 2 in the registry."""
    world.serve().edit("model.uri", NEW).settle()
    world.finish(success(world.task.digest, version)).settle()
    return world


def versions(world: World) -> dict[str, int]:
    return {site: int(found.rpartition(":")[2]) for site, found in world.images().items()}


def test_each_site_gets_a_deployment_and_a_service_of_its_own() -> None:
    world = World()
    world.settle()
    world.finish(success(world.task.digest)).settle()
    assert world.images() == {"site-a": image(1)}, "the first wave"
    assert world.condition("Ready").reason == "RollingOut"
    world.roll_out("site-a").settle()
    world.roll_out("site-b").settle()
    assert sorted(world.objects["Service"]) == sorted(world.objects["Deployment"]) == ["digits-site-a", "digits-site-b"]
    assert (world.model.status.ready_sites, world.model.status.total_sites) == (2, 2)
    assert world.condition("Ready").message.startswith("2 of 2 sites serve ")


def test_waves_spread_a_new_version() -> None:
    world = updating(World(edge_model().set("rollout", {"waves": [1, "75%", "100%"]}), FOUR))
    assert versions(world) == {"site-a": 2, "site-b": 1, "site-c": 1, "site-d": 1}
    assert world.site("site-b").reason == "WaitingForWave"
    world.roll_out("site-a").settle()
    assert versions(world) == {"site-a": 2, "site-b": 2, "site-c": 2, "site-d": 1}
    world.roll_out("site-b").settle()
    assert versions(world)["site-d"] == 1, "a wave is whole, or the next one waits"
    world.roll_out("site-c").settle()
    assert set(versions(world).values()) == {2}
    world.roll_out("site-d").settle()
    assert world.condition("Ready").status == "True"


def test_a_wave_soaks() -> None:
    world = updating(World(edge_model().set("rollout", {"waves": [1, "100%"], "soak": "1m"})))
    decided = world.roll_out("site-a").settle()
    assert versions(world) == {"site-a": 2, "site-b": 1}
    assert decided.requeue_after is not None
    assert decided.requeue_after.total_seconds() == 60
    world.wait(60).settle()
    assert versions(world) == {"site-a": 2, "site-b": 2}


def test_a_site_that_cannot_pull_holds_the_next_wave_and_keeps_its_old_version() -> None:
    world = updating(World(sites=FOUR))
    world.stand_still("site-a", world.server_pod("site-a").waiting("ImagePullBackOff", "no route to registry"))
    world.settle()
    assert versions(world) == {"site-a": 2, "site-b": 1, "site-c": 1, "site-d": 1}
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "ImagePullFailed")
    assert "site-a" in ready.message
    assert "no route to registry" in ready.message
    assert "1 of its replicas serve meanwhile" in ready.message
    assert world.condition("Available").status == "True"
    assert world.events[-1] == ("Warning", "ImagePullFailed")


def test_pulling_fails_on_one_site_only() -> None:
    world = World()
    world.settle()
    world.finish(success(world.task.digest)).settle()
    world.roll_out("site-a").settle()
    world.stand_still("site-b", world.server_pod("site-b").waiting("ErrImagePull", "not found")).settle()
    assert world.site("site-a").state == "Ready"
    assert (world.site("site-b").state, world.site("site-b").reason) == ("Degraded", "ImagePullFailed")
    assert (world.model.status.ready_sites, world.model.status.total_sites) == (1, 2)
    assert world.condition("Available").reason == "SitesUnavailable"
    world.roll_out("site-b").settle()
    assert world.condition("Ready").status == "True"


def test_a_site_without_room() -> None:
    world = World()
    world.settle()
    world.finish(success(world.task.digest)).settle()
    world.roll_out("site-a").settle()
    world.stand_still("site-b", world.server_pod("site-b").unschedulable("1 Insufficient memory.")).settle()
    ready = world.condition("Ready")
    assert ready.reason == "InsufficientCapacity"
    assert "Site site-b" in ready.message
    assert "add a node" in ready.message
    assert world.condition("Stalled").status == "False", "the scheduler goes on trying"


def test_a_site_that_fails_is_passed_over_where_the_spec_allows_it() -> None:
    world = updating(World(edge_model().set("rollout", {"waves": [1, "100%"], "maxFailedSites": 1}), FOUR))
    world.stand_still("site-a", reason="ProgressDeadlineExceeded").settle()
    assert set(versions(world).values()) == {2}
    for site in FOUR[1:]:
        world.roll_out(site).settle()
    rollout = world.model.status.rollout
    assert rollout is not None
    assert (rollout.state, rollout.failed_sites) == ("Complete", ["site-a"])
    assert world.condition("Ready").reason == "ProgressDeadlineExceeded", "it is passed over, not forgotten"
    assert nothing_to_do(world.settle())


def test_a_rollout_stops_when_more_sites_fail_than_may() -> None:
    world = updating(World(edge_model().set("rollout", {"waves": [2, "100%"], "maxFailedSites": 1}), FOUR))
    for site in FOUR[:2]:
        world.stand_still(site, reason="ProgressDeadlineExceeded").settle()
    assert versions(world) == {"site-a": 2, "site-b": 2, "site-c": 1, "site-d": 1}
    rollout = world.model.status.rollout
    assert rollout is not None
    assert (rollout.state, rollout.failed_sites) == ("Stopped", ["site-a", "site-b"])
    assert world.site("site-c").reason == "RolloutStopped"
    ready = world.condition("Ready")
    assert "The rollout has stopped, 2 sites wait: 2 failed (site-a, site-b)" in ready.message
    assert "spec.rollout.maxFailedSites allows 1" in ready.message
    assert world.condition("Stalled").status == "True"
    world.edit("rollout.maxFailedSites", 2).settle()
    assert set(versions(world).values()) == {2}, "whoever takes the risk lets it go on"


def test_the_status_says_how_far_a_rollout_is() -> None:
    world = updating(World(edge_model().set("rollout", {"waves": [1, "75%"], "soak": "1m"}), FOUR))
    begun = timestamp(world.now)
    rollout = world.model.status.rollout
    assert rollout == RolloutStatus(
        version=image(2), state="Progressing", wave=1, of=3, updated_sites=1, total_sites=4, started_at=begun
    )
    world.wait(20).roll_out("site-a").settle()
    rollout = world.model.status.rollout
    assert rollout is not None
    assert (rollout.state, rollout.soak_until) == ("Soaking", timestamp(world.now + timedelta(seconds=60)))
    world.wait(60).settle()
    rollout = world.model.status.rollout
    assert rollout is not None
    assert (rollout.state, rollout.wave, rollout.updated_sites) == ("Progressing", 2, 3)
    assert rollout.started_at == begun
    assert rollout.soak_until is None


def test_what_happens_to_a_site_later_is_no_rollout() -> None:
    world = World().serve()
    before = world.model.status.rollout
    assert before is not None
    assert before.state == "Complete"
    world.wait(60).stand_still("site-a").settle()
    assert world.model.status.rollout == before
    world.edit("serving.resources", {"requests": {"cpu": "100m"}, "limits": {"memory": "2Gi"}}).settle()
    after = world.model.status.rollout
    assert after is not None
    assert (after.state, after.version) == ("Progressing", before.version), "other settings spread like a version"
    assert after.started_at > before.started_at


def test_a_site_has_as_long_as_the_spec_says() -> None:
    world = World(edge_model().set("rollout", {"progressDeadline": "90s"})).serve()
    assert world.deployment("site-a")["spec"]["progressDeadlineSeconds"] == 90
    revision = world.site("site-a").revision
    world.edit("rollout.progressDeadline", "2500ms").settle()
    assert world.deployment("site-a")["spec"]["progressDeadlineSeconds"] == 3
    assert world.site("site-a").revision == revision, "no server restarts for it"


def test_a_rollout_past_its_deadline_is_stalled() -> None:
    world = updating(World())
    world.stand_still("site-a", reason="ProgressDeadlineExceeded").settle()
    assert world.condition("Ready").reason == "ProgressDeadlineExceeded"
    assert world.condition("Stalled").status == "True"
    assert world.condition("Progressing").reason == "ProgressDeadlineExceeded"
    world.edit("model.uri", "https://models.example/third.onnx").settle()
    world.finish(success(world.task.digest, 3)).settle()
    world.roll_out("site-a").settle()
    assert world.condition("Stalled").status == "False", "a better version gets its chance"


def test_no_node_matches_and_what_serves_is_left() -> None:
    world = World().serve()
    world.edit("placement.nodeSelector", {"tier": "far-edge"})
    decided = world.settle()
    assert not decided.delete
    assert len(world.objects["Deployment"]) == 2
    ready = world.condition("Ready")
    assert (ready.reason, world.condition("Stalled").status) == ("NoMatchingNodes", "True")
    assert "tier=far-edge" in ready.message
    # The servers run on, and the status does not deny it.
    available = world.condition("Available")
    assert (available.status, available.reason) == ("True", "Available")
    assert (world.model.status.ready_sites, world.model.status.ready_replicas) == (2, 2)
    assert [site.state for site in world.model.status.sites] == ["Ready", "Ready"]


def test_a_node_whose_site_label_is_empty_serves_in_the_site_default() -> None:
    world = World(sites=("",)).serve()
    terms = node_selector_terms(world.deployment("default"))
    assert world.condition("Ready").status == "True"
    assert any(matches(term, {EDGE_NODE_LABEL: "", NODE_SITE_LABEL: ""}) for term in terms)
    assert any(matches(term, {EDGE_NODE_LABEL: ""}) for term in terms)
    assert any(matches(term, {EDGE_NODE_LABEL: "", NODE_SITE_LABEL: "default"}) for term in terms)
    assert not any(matches(term, {EDGE_NODE_LABEL: "", NODE_SITE_LABEL: "site-a"}) for term in terms)


def test_pods_that_a_quota_keeps_from_a_site_are_no_mystery() -> None:
    world = World().serve()
    words = 'pods "digits-site-a-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2'
    world.refuse_pods("site-a", words).settle()
    ready = world.condition("Ready")
    assert (ready.status, ready.reason, world.condition("Stalled").status) == ("False", "QuotaExceeded", "True")
    assert "exceeded quota: small" in ready.message
    assert world.site("site-a").state == "Degraded"


def test_a_site_that_is_named_and_has_no_node() -> None:
    world = World().serve()
    world.edit("placement.sites", ["site-a", "moon"]).settle()
    ready = world.condition("Ready")
    assert ready.reason == "SitesMissing"
    assert "moon" in ready.message
    assert "topology.kubernetes.io/zone" in ready.message


def test_a_site_taken_out_of_the_spec_loses_its_children() -> None:
    world = World().serve().edit("placement.sites", ["site-a"])
    decided = world.plan()
    assert set(decided.delete) == {Ref("Deployment", "digits-site-b"), Ref("Service", "digits-site-b")}
    world.settle()
    assert list(world.objects["Deployment"]) == ["digits-site-a"]
    assert world.condition("Ready").status == "True"


def test_a_site_of_several_replicas_has_a_disruption_budget() -> None:
    world = World(edge_model().set("scaling", {"minReplicas": 2, "maxReplicas": 2}))
    world.serve()
    assert list(world.objects["PodDisruptionBudget"]) == ["digits-site-a", "digits-site-b"]
    world.remove_nodes("site-b").settle()
    assert list(world.objects["PodDisruptionBudget"]) == ["digits-site-a"], "it goes with its site"
    world.edit("scaling", {"minReplicas": 1, "maxReplicas": 1}).settle()
    assert world.objects["PodDisruptionBudget"] == {}, "of one replica it would say nothing"


def test_a_site_that_waits_for_its_wave_keeps_its_disruption_budget() -> None:
    world = updating(World(edge_model().set("scaling", {"minReplicas": 2, "maxReplicas": 2})))
    assert world.site("site-b").reason == "WaitingForWave"
    assert list(world.objects["PodDisruptionBudget"]) == ["digits-site-a", "digits-site-b"]


def test_a_site_that_is_named_keeps_its_children_while_its_nodes_are_gone() -> None:
    world = World(edge_model().set("placement.sites", ["site-a", "site-b"])).serve()
    world.remove_nodes("site-b").settle()
    assert "digits-site-b" in world.objects["Deployment"]
    assert world.condition("Ready").reason == "SitesMissing"


def test_a_new_site_is_served() -> None:
    world = World().serve()
    world.nodes.append(node("node-of-site-c", "site-c"))
    world.settle()
    assert world.images()["site-c"] == image(1)
    world.roll_out("site-c").settle()
    assert (world.model.status.ready_sites, world.model.status.total_sites) == (3, 3)


def test_a_site_that_is_cut_off_is_left_alone_and_ready_stays_true() -> None:
    world = World().serve().cut("site-b")
    decided = world.settle()
    assert nothing_to_do(decided)
    assert world.site("site-b").state == "Disconnected"
    assert world.condition("Ready").status == "True"
    assert "serving on their own: site-b" in world.condition("Ready").message
    del world.objects["Service"]["digits-site-b"]
    world.deployment("site-b")["spec"]["replicas"] = 7
    assert not world.plan().apply, "not even healed, until it is back"
    world.restore("site-b").settle()
    assert world.deployment("site-b")["spec"]["replicas"] == 1
    assert "digits-site-b" in world.objects["Service"]


def test_figures_of_a_cut_site_move_nothing() -> None:
    builder = edge_model().set("scaling", {"minReplicas": 1, "maxReplicas": 4, "target": {"latency": "20ms"}})
    world = World(builder, sites=("site-a",)).serve().cut("site-a")
    world.latency = {"site-a": SiteLatency(seconds=0.04, requests_per_second=80, servers=100, at=world.now)}
    decided = world.settle()
    assert decided.recommendations == {"site-a": ()}
    assert world.condition("ScalingActive").reason == "NoMetrics"


def test_a_cut_site_gets_the_new_version_when_it_is_back() -> None:
    world = World().serve().cut("site-b")
    world.edit("model.uri", NEW).settle()
    world.finish(success(world.task.digest, 2)).settle()
    world.roll_out("site-a").settle()
    assert versions(world) == {"site-a": 2, "site-b": 1}
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "SitesDisconnected")
    assert world.condition("Stalled").status == "False"
    world.restore("site-b").settle()
    assert versions(world) == {"site-a": 2, "site-b": 2}
    world.roll_out("site-b").settle()
    assert world.condition("Ready").status == "True"


def test_when_all_sites_are_cut_off_nobody_claims_to_know() -> None:
    world = World(sites=("site-a",)).serve()
    world.cut("site-a")
    # The control plane marks the pods of a silent node as not ready.
    world.deployment("site-a")["status"] |= {"readyReplicas": 0, "availableReplicas": 0}
    world.settle()
    available = world.condition("Available")
    assert (available.status, available.reason) == ("Unknown", "Disconnected")
    assert ("Warning", "Disconnected") not in world.events


def test_available_speaks_of_the_sites_it_can_see() -> None:
    world = World().serve().cut("site-b")
    world.deployment("site-b")["status"] |= {"readyReplicas": 0, "availableReplicas": 0}
    world.settle()
    available = world.condition("Available")
    assert available.status == "True"
    assert available.message == "Every reachable site has a ready replica: 1 of 2 sites."


def test_suspend_leaves_everything_as_it_is() -> None:
    world = World().serve().edit("suspend", True).edit("model.uri", NEW)
    world.deployment("site-a")["spec"]["replicas"] = 5
    del world.objects["Service"]["digits-site-b"]
    decided = world.plan()
    assert nothing_to_do(decided)
    assert decided.requeue_after is None
    world.settle()
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "Suspended")
    assert "spec.suspend" in ready.message
    assert world.condition("Reconciling").status == "False"
    world.edit("suspend", False).settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 1
    assert world.condition("Ready").reason == "Compressing"


def test_suspend_of_a_model_that_is_well_is_no_fault() -> None:
    world = World().serve().edit("suspend", True)
    world.settle()
    assert world.condition("Ready").status == "True"
    assert world.condition("Progressing").reason == "Suspended"


def test_paused_stops_between_sites_and_goes_on() -> None:
    world = updating(World())
    world.edit("rollout", {"paused": True})
    world.roll_out("site-a").settle()
    assert versions(world) == {"site-a": 2, "site-b": 1}
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "RolloutPaused")
    assert world.condition("Reconciling").status == "False"
    assert world.condition("Stalled").status == "False"
    world.edit("rollout", {"paused": False}).settle()
    assert versions(world) == {"site-a": 2, "site-b": 2}


def test_paused_still_heals_what_is_rolled_out() -> None:
    world = World().serve().edit("rollout", {"paused": True})
    del world.objects["Service"]["digits-site-a"]
    assert [obj["metadata"]["name"] for obj in world.plan().apply] == ["digits-site-a"]


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_child_deleted_by_hand_comes_back(kind: str) -> None:
    world = World().serve()
    del world.objects[kind]["digits-site-a"]
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in world.plan().apply] == [(kind, "digits-site-a")]


def test_a_child_edited_by_hand_is_healed() -> None:
    world = World().serve()
    present = world.deployment("site-a")
    present["spec"]["template"]["spec"]["containers"][0]["image"] = "debug:latest"
    present["metadata"]["generation"] += 1
    assert [obj["metadata"]["name"] for obj in world.plan().apply] == ["digits-site-a"]
    world.settle()
    assert world.images()["site-a"] == image(1)


def test_fields_of_others_are_left_to_them() -> None:
    world = World().serve()
    present = world.deployment("site-a")
    present["metadata"]["annotations"]["team"] = "vision"
    present["metadata"]["labels"]["cost-center"] = "7"
    present["spec"]["template"]["spec"]["priorityClassName"] = "edge"
    assert not world.plan().apply


def test_a_site_that_waits_for_its_wave_is_scaled_and_nothing_else() -> None:
    builder = edge_model().set("scaling", {"minReplicas": 1, "maxReplicas": 4, "target": {"latency": "20ms"}})
    world = updating(World(builder))
    world.latency = {"site-b": SiteLatency(seconds=0.04, requests_per_second=80, servers=100, at=world.now)}
    decided = world.plan()
    assert decided.scale == (Scale("digits-site-b", 2),)
    assert [obj["kind"] for obj in decided.apply] == ["PodDisruptionBudget"], "of the second replica"
    world.settle()
    assert versions(world) == {"site-a": 2, "site-b": 1}
    assert world.deployment("site-b")["spec"]["replicas"] == 2


def test_latency_moves_replicas_up_and_down_again() -> None:
    scaling = {
        "minReplicas": 1,
        "maxReplicas": 3,
        "target": {"latency": "20ms"},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
    }
    world = World(edge_model().set("scaling", scaling)).serve()
    world.latency = {"site-a": SiteLatency(seconds=0.050, requests_per_second=90, servers=100, at=world.now)}
    world.settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 2, "one measurement, one step"
    assert world.condition("ScalingActive").status == "True"
    assert world.site("site-a").latency == "50ms"
    world.roll_out("site-a").settle()
    for _ in range(8):
        world.wait(5)
        world.latency = {"site-a": SiteLatency(seconds=None, requests_per_second=0, servers=100, at=world.now)}
        world.settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 1
    assert world.deployment("site-b")["spec"]["replicas"] == 1


def test_a_site_at_its_capacity_says_so_and_stays_ready() -> None:
    builder = edge_model().set("scaling", {"minReplicas": 1, "maxReplicas": 4, "target": {"latency": "20ms"}})
    world = World(builder).serve()
    world.latency = {"site-a": SiteLatency(seconds=0.04, requests_per_second=80, servers=100, at=world.now)}
    world.settle()
    world.stand_still("site-a")
    present = world.deployment("site-a")
    present["status"] |= {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1, "readyReplicas": 1}
    world.put_pod(world.server_pod("site-a").unschedulable("Insufficient cpu."))
    world.wait(5)
    world.latency = {"site-a": SiteLatency(seconds=0.04, requests_per_second=80, servers=100, at=world.now)}
    world.settle()
    assert world.condition("Ready").status == "True"
    assert world.condition("ScalingActive").reason == "CapacityLimited"
    assert "site-a" in world.condition("ScalingActive").message
    assert world.deployment("site-a")["spec"]["replicas"] == 2


def test_stale_figures_leave_the_status_and_hold_the_replicas() -> None:
    builder = edge_model().set("scaling", {"minReplicas": 1, "maxReplicas": 4, "target": {"latency": "20ms"}})
    world = World(builder).serve()
    world.latency = {"site-a": SiteLatency(seconds=0.015, requests_per_second=80, servers=100, at=world.now)}
    world.settle()
    assert world.site("site-a").requests_per_second == "80"
    world.wait(16)
    world.settle()
    assert "latency" not in repr(world.site("site-a")).replace("latency=None", "")
    assert world.condition("ScalingActive").reason == "NoMetrics"


def test_figures_that_hardly_move_are_not_written_again() -> None:
    world = World().serve()

    def figures(seconds: float, rate: float) -> tuple[object, object]:
        world.latency = {"site-a": SiteLatency(seconds, rate, 100, world.now)}
        world.settle()
        return world.site("site-a").latency, world.site("site-a").requests_per_second

    assert figures(0.0100, 12345) == ("10ms", "12345")
    assert figures(0.0105, 12999) == ("10ms", "12345")
    assert figures(0.0095, 11500) == ("10ms", "12345")
    assert figures(0.0120, 15000) == ("12ms", "15000")


def test_two_models_of_one_name_live_side_by_side() -> None:
    one, other = World(edge_model(namespace="one", uid="1")), World(edge_model(namespace="other", uid="2"))
    for world in (one, other):
        world.serve()
    mine, theirs = one.deployment("site-a")["metadata"], other.deployment("site-a")["metadata"]
    assert mine["name"] == theirs["name"]
    assert (mine["namespace"], theirs["namespace"]) == ("one", "other")
    assert (mine["ownerReferences"][0]["uid"], theirs["ownerReferences"][0]["uid"]) == ("1", "2")


def test_ready_of_the_old_generation_is_never_left_standing() -> None:
    """kstatus and Argo CD trust a condition only with the generation it was observed at."""
    world = World().serve()
    world.edit("model.uri", NEW)
    status = world.plan().status
    assert status.observed_generation == world.model.metadata.generation
    assert {item.observed_generation for item in status.conditions} == {world.model.metadata.generation}
