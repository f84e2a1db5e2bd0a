"""Pods without their volumes, and what the kubelet's events say about them."""

from datetime import timedelta

import pytest

from edgemodel_operator.kube.projection import event_from
from edgemodel_operator.observed import Event
from edgemodel_operator.plan.policy.mounts import (
    PATIENCE,
    absent_object,
    is_being_created,
    mount_failure,
    starts_slowly,
)
from tests.unit.operator.builders import NOW, PodBuilder, after, server_pod

SETUP = 'MountVolume.SetUp failed for volume "tls" : secret "digits-tls" not found'
TIMEOUT = "Unable to attach or mount volumes: unmounted volumes=[tls]: timed out waiting for the condition"


def new_event(reason: str, message: str, seconds: float, again: float | None = None) -> Event:
    """As programs of today write it: told in microseconds, and repeated as a series."""
    micro = "%Y-%m-%dT%H:%M:%S.%fZ"
    series = {} if again is None else {"series": {"count": 2, "lastObservedTime": after(again).strftime(micro)}}
    told = {"eventTime": after(seconds).strftime(micro), "deprecatedLastTimestamp": None}
    return event_from({"reason": reason, "note": message, **told, **series})


def event(reason: str, message: str, seconds: float) -> Event:
    """As it reads where it was written through the older API."""
    said = after(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
    return event_from({"reason": reason, "note": message, "deprecatedLastTimestamp": said, "eventTime": None})


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], None),
        ([event("Scheduled", "assigned", 0)], None),
        ([event("Scheduled", "assigned", 0), event("FailedMount", SETUP, 5)], SETUP),
        ([event("FailedMount", SETUP, 5), event("FailedMount", TIMEOUT, 120)], SETUP),
        ([event("FailedMount", TIMEOUT, 120)], TIMEOUT),
        # The Secret came, and now the image is pulled.
        ([event("Pulling", "Pulling image", 60), event("FailedMount", SETUP, 5)], None),
        ([Event("FailedMount", SETUP)], SETUP),
        # Events of both APIs beside each other, and one that was last repeated after the other.
        ([new_event("Pulling", "Pulling image", 4.5), event("FailedMount", SETUP, 4)], None),
        ([new_event("FailedMount", SETUP, 1, again=9), event("Pulling", "Pulling image", 5)], SETUP),
    ],
)
def test_the_last_word_counts_and_of_several_the_one_that_names_the_volume(
    events: list[Event], found: str | None
) -> None:
    assert mount_failure(events) == found


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (SETUP, "Secret digits-tls"),
        ('MountVolume.SetUp failed for volume "ca" : configmap "registry-ca" not found', "ConfigMap registry-ca"),
        (TIMEOUT, None),
    ],
)
def test_what_is_absent_is_named(message: str, found: str | None) -> None:
    assert absent_object(message) == found


def test_a_pod_is_asked_once_it_takes_long() -> None:
    pod = server_pod("site-a").waiting("ContainerCreating").started(NOW).build()
    assert is_being_created(pod)
    assert not starts_slowly(pod, NOW + PATIENCE - timedelta(seconds=1))
    assert starts_slowly(pod, NOW + PATIENCE)


@pytest.mark.parametrize(
    "pod",
    [
        server_pod("site-a").waiting("ContainerCreating"),
        server_pod("site-a").unschedulable("no room"),
        server_pod("site-a").started(NOW).waiting("ImagePullBackOff"),
        server_pod("site-a").started(NOW).ready(),
        server_pod("site-a").started(NOW).waiting("ContainerCreating").deleting(),
    ],
)
def test_pods_without_a_node_or_with_a_reason_of_their_own_are_not(pod: PodBuilder) -> None:
    assert not starts_slowly(pod.build(), NOW + timedelta(hours=1))
