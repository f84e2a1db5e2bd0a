"""How one site is doing, from its Deployment and its pods."""

from typing import Any

import pytest

from edgemodel_operator.manifests.deployment import build_deployment, revision, site_serving
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.policy.health import SiteHealth, site_health
from edgemodel_operator.plan.policy.placement import Site
from tests.unit.operator.builders import (
    NOW,
    SETTINGS,
    PodBuilder,
    after,
    as_deployment,
    deployment_status,
    edge_model,
    image,
    server_pod,
)

HERE = Site("site-a", connected=True)
CUT_OFF = Site("site-a", connected=False)


def deployment(wanted: int = 2, generation: int = 3, **status: Any) -> Object:
    builder = edge_model()
    built = build_deployment(
        builder.build(), builder.spec(), site_serving(builder.spec(), "site-a", image(1)), wanted, SETTINGS
    )
    built["metadata"]["generation"] = generation
    built["status"] = deployment_status(**({"wanted": wanted, "generation": generation} | status))
    return built


def judge(
    found: Object | None, *pods: PodBuilder, site: Site = HERE, minimum: int = 1, settled: str | None = None
) -> SiteHealth:
    return site_health(
        site, None if found is None else as_deployment(found), [pod.build() for pod in pods], minimum, settled, NOW
    )


def test_nothing_is_deployed_yet() -> None:
    assert judge(None).state == "Pending"
    assert judge(None, site=CUT_OFF).state == "Disconnected"


def test_ready_since_the_deployment_says_so() -> None:
    found = judge(deployment(at=after(-60)), server_pod("site-a").ready())
    assert (found.state, found.settled_at, found.image) == ("Ready", after(-60), image(1))
    assert (found.replicas, found.ready) == (2, 2)


@pytest.mark.parametrize(
    "status",
    [
        {"updated": 0, "available": 0, "total": 0},
        {"updated": 1, "available": 1},
        {"updated": 2, "available": 1},
        # Two old replicas are available, none of the new ones: the counts alone look settled.
        {"updated": 2, "available": 2, "total": 3},
        # The controller has not seen the last change yet.
        {"generation": 2},
    ],
)
def test_on_its_way(status: dict[str, Any]) -> None:
    found = judge(deployment(**status) if "generation" not in status else _stale(), minimum=2)
    assert found.state == "Progressing"
    assert found.settled_at is None
    assert "of 2 replicas are updated and available" in found.message


def test_a_replica_that_scaling_adds_does_not_take_ready_away() -> None:
    found = judge(deployment(updated=2, available=1, total=2), minimum=1)
    assert found.state == "Ready"


def test_a_change_of_replicas_alone_that_nobody_has_seen_yet_takes_nothing_away() -> None:
    unseen = _stale()
    assert judge(unseen, settled=revision(unseen)).state == "Ready"
    assert judge(unseen, settled="another").state == "Progressing"


def _stale() -> Object:
    found = deployment()
    found["status"]["observedGeneration"] = found["metadata"]["generation"] - 1
    return found


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (server_pod("site-a").unschedulable("0/3 nodes are available."), "InsufficientCapacity", "0/3 nodes"),
        (server_pod("site-a").waiting("ErrImagePull", "not found"), "ImagePullFailed", "not found"),
        (server_pod("site-a").waiting("ImagePullBackOff", "Back-off"), "ImagePullFailed", "pull secret"),
        (server_pod("site-a").waiting("CreateContainerConfigError", "no Secret x"), "CannotStart", "no Secret x"),
        (
            server_pod("site-a").exited(1, "loading\nmodel.onnx: digest differs\n", again=True),
            "ServerCrashing",
            "exit code 1: model.onnx: digest differs",
        ),
        (
            server_pod("site-a").exited(1, "", again=True).waiting("CrashLoopBackOff"),
            "ServerCrashing",
            "see the log of pod digits-site-a-pod",
        ),
        (
            server_pod("site-a").exited(137, reason="OOMKilled", again=True),
            "ServerOutOfMemory",
            "spec.serving.resources.limits.memory",
        ),
    ],
)
def test_degraded_says_why_and_what_to_do(pod: PodBuilder, reason: str, words: str) -> None:
    found = judge(deployment(updated=1, available=0), pod)
    assert (found.state, found.reason) == ("Degraded", reason)
    assert words in found.message
    assert found.settled_at is None
    assert found.capacity_limited == (reason == "InsufficientCapacity")


def test_pods_that_are_ready_or_go_are_no_trouble() -> None:
    gone = server_pod("site-a").waiting("ErrImagePull").deleting()
    restarted = server_pod("site-a").exited(1, again=True).ready()
    assert judge(deployment(updated=1), gone, restarted).state == "Ready"


def test_replicas_above_the_minimum_that_find_no_room_do_not_make_a_site_degraded() -> None:
    squeezed = deployment(wanted=3, updated=3, available=2)
    pod = server_pod("site-a").unschedulable("Insufficient cpu.")
    found = judge(squeezed, pod, minimum=2)
    assert (found.state, found.capacity_limited) == ("Ready", True)
    assert judge(squeezed, pod, minimum=3).state == "Degraded"


def test_a_site_with_room_for_none_is_degraded() -> None:
    pod = server_pod("site-a").unschedulable("Insufficient cpu.")
    assert judge(deployment(wanted=1, updated=1, available=0), pod).state == "Degraded"


def test_a_rollout_past_its_deadline_is_degraded_even_where_no_pod_says_why() -> None:
    late = deployment(updated=1, available=0, reason="ProgressDeadlineExceeded")
    found = judge(late)
    assert (found.state, found.reason) == ("Degraded", "ProgressDeadlineExceeded")
    assert found.deadline_exceeded
    assert judge(late, server_pod("site-a").waiting("ErrImagePull")).reason == "ImagePullFailed", (
        "the cause comes first"
    )


def test_the_deadline_of_the_version_before_says_nothing_about_the_new_one() -> None:
    late = deployment(updated=1, available=0, reason="ProgressDeadlineExceeded")
    late["metadata"]["generation"] += 1
    found = judge(late)
    assert (found.state, found.deadline_exceeded) == ("Progressing", False)


def test_a_site_without_its_link_is_disconnected_and_nothing_else() -> None:
    for status in ({}, {"updated": 1, "available": 0}, {"reason": "ProgressDeadlineExceeded", "available": 0}):
        found = judge(deployment(**status), server_pod("site-a").waiting("ErrImagePull"), site=CUT_OFF)
        assert (found.state, found.reason) == ("Disconnected", "Disconnected")
        assert found.image == image(1)


def test_no_status_yet() -> None:
    new = deployment()
    del new["status"]
    assert judge(new).state == "Progressing"
