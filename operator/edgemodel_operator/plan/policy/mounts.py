"""Pods that do not start for want of a volume. The kubelet says why in events and nowhere in the pod."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from edgemodel_operator.observed import Event, Pod

MOUNT_FAILED = "FailedMount"
"""Reason of the kubelet's events; as ``Pod.waiting_reason`` it is the operator's own word."""
PATIENCE = timedelta(seconds=10)
"""A pod that is created for longer than this is asked for its reasons, and again after as long."""

_ABSENT = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found')
_KINDS = {"secret": "Secret", "configmap": "ConfigMap"}


def is_being_created(pod: Pod) -> bool:
    """A kubelet has taken the pod, and its container neither runs nor has a reason not to."""
    return (
        pod.phase == "Pending"
        and not pod.deleting
        and pod.started_at is not None
        and pod.waiting_reason in ("", "ContainerCreating", MOUNT_FAILED)
    )


def starts_slowly(pod: Pod, now: datetime) -> bool:
    """Whether its events are worth a look."""
    return is_being_created(pod) and pod.started_at is not None and now - pod.started_at >= PATIENCE


def mount_failure(events: Iterable[Event]) -> str | None:
    """What keeps a pod's volumes from it, if that is the last thing the kubelet said. Of several messages the one
    that names the volume counts: the other says only that time ran out.
    """
    ordered = sorted(events, key=lambda event: event.at)
    if not ordered or ordered[-1].reason != MOUNT_FAILED:
        return None
    messages = [event.message for event in ordered if event.reason == MOUNT_FAILED]
    return next((text for text in reversed(messages) if text.startswith("MountVolume")), messages[-1])


def absent_object(message: str) -> str | None:
    """``Secret digits-tls``, where that is what ``message`` complains about."""
    found = _ABSENT.search(message)
    return f"{_KINDS[found['kind']]} {found['name']}" if found else None
