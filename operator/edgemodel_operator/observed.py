"""What the watch caches say about one EdgeModel: plain values, read by policies and never written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from edgemodel_contract.progress import Progress

Object = dict[str, Any]
"""A Kubernetes object as JSON data."""


SERVER_CONTAINER = "server"
COMPRESSION_CONTAINER = "compress"
CONTAINERS = (SERVER_CONTAINER, COMPRESSION_CONTAINER)
"""Names of the operator's own containers, one in each of its pods."""

_CONDITION_TAINTS = "node.kubernetes.io/"
"""Prefix of the taints that Kubernetes sets and lifts itself."""


@dataclass(frozen=True)
class Node:
    """A node that a site may be made of."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    """The kubelet reports, and says it is ready."""
    open: bool = True
    """Takes pods without special tolerations: not cordoned, and no taint but those of its own condition."""


@dataclass(frozen=True)
class Pod:
    """The few facts of a pod that decisions need."""

    name: str
    labels: Mapping[str, str]
    phase: str
    uid: str = ""
    owner: str = ""
    """uid of the object that controls it: a name may have been somebody else's before."""
    started_at: datetime | None = None
    """When its node's kubelet took it."""
    ip: str | None = None
    ready: bool = False
    reason: str = ""
    """``status.reason``, for instance Evicted."""
    message: str = ""
    unschedulable: str | None = None
    """The scheduler's message while the pod fits nowhere."""
    waiting_reason: str = ""
    waiting_message: str = ""
    exit_code: int | None = None
    """Of the container's present or last termination."""
    exit_reason: str = ""
    ended_at: datetime | None = None
    """When that was."""
    termination_message: str = ""
    restarts: int = 0
    deleting: bool = False


EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Event:
    """What a controller or a kubelet said about an object."""

    reason: str
    message: str
    at: datetime = EARLIEST
    """The last time that it was said."""
    warning: bool = False


@dataclass(frozen=True)
class SiteLatency:
    """What the servers of one site measured over the last window."""

    seconds: float | None
    """The wanted percentile; None without requests."""
    requests_per_second: float
    servers: int
    """Replicas that were ready all the time that the figures are about."""
    at: datetime


@dataclass(frozen=True)
class Recommendation:
    """A number of replicas that the latency measured at a time asked for."""

    at: datetime
    replicas: int


@dataclass(frozen=True)
class Replicas:
    """The replicas of one site as the operator asked for them last, and when somebody else had changed them since."""

    asked: int | None = None
    changed: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a child is not what was asked for. ``reason`` is NameConflict, Rejected or ChildContested."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observed:
    """Everything known about one EdgeModel's surroundings. ``children`` are its own."""

    nodes: tuple[Node, ...] = ()
    children: Mapping[str, Mapping[str, Object]] = field(default_factory=dict)
    """By kind, then by name."""
    pods: tuple[Pod, ...] = ()
    progress: Progress | None = None
    """Last line of the running Job's log."""
    latency: Mapping[str, SiteLatency] = field(default_factory=dict)
    """By site."""
    recommendations: Mapping[str, tuple[Recommendation, ...]] = field(default_factory=dict)
    """By site, oldest first."""
    refused_pods: Mapping[str, str] = field(default_factory=dict)
    """Why the API server did not admit the pod of a Job, by the Job's name."""
    replicas: Mapping[str, Replicas] = field(default_factory=dict)
    """What the operator asked for last, by site."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """Children that the API server did not take, by ``Kind/name``."""

    def of_kind(self, kind: str) -> Mapping[str, Object]:
        """The children of one kind, by name."""
        return self.children.get(kind, {})

    def present(self, obj: Object) -> Object | None:
        """What is there of a child that is wanted."""
        return self.of_kind(obj["kind"]).get(obj["metadata"]["name"])


def node_from(raw: Mapping[str, Any]) -> Node:
    """Project a v1 Node."""
    conditions = raw.get("status", {}).get("conditions") or []
    spec = raw.get("spec") or {}
    return Node(
        name=raw["metadata"]["name"],
        labels=dict(raw["metadata"].get("labels") or {}),
        ready=any(item["type"] == "Ready" and item["status"] == "True" for item in conditions),
        open=not spec.get("unschedulable")
        and not any(
            taint["effect"] in ("NoSchedule", "NoExecute") and not taint["key"].startswith(_CONDITION_TAINTS)
            for taint in spec.get("taints") or []
        ),
    )


def pod_from(raw: Mapping[str, Any]) -> Pod:
    """Project a v1 Pod of ours: of its containers only the one that the operator named counts, for others put in
    proxies and agents of their own, before it or behind.
    """
    status = raw.get("status") or {}
    containers = {item["name"]: item for item in status.get("containerStatuses") or []}
    container: Mapping[str, Any] = next((containers[name] for name in CONTAINERS if name in containers), {})
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    return Pod(
        name=raw["metadata"]["name"],
        labels=dict(raw["metadata"].get("labels") or {}),
        phase=status.get("phase", "Pending"),
        uid=raw["metadata"].get("uid", ""),
        owner=next(
            (item["uid"] for item in raw["metadata"].get("ownerReferences") or [] if item.get("controller")), ""
        ),
        started_at=moment(status["startTime"]) if status.get("startTime") else None,
        ip=status.get("podIP"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "")
        if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        else None,
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason", ""),
        ended_at=moment(ended["finishedAt"]) if ended.get("finishedAt") else None,
        termination_message=ended.get("message", ""),
        restarts=container.get("restartCount", 0),
        deleting="deletionTimestamp" in raw["metadata"],
    )


def event_from(raw: Mapping[str, Any]) -> Event:
    """Project an events.k8s.io/v1 Event; those written by the older core/v1 API come with ``deprecated`` fields."""
    series = raw.get("series") or {}
    said = series.get("lastObservedTime") or raw.get("deprecatedLastTimestamp") or raw.get("eventTime")
    event = Event(raw.get("reason", ""), raw.get("note", ""), warning=raw.get("type") == "Warning")
    return replace(event, at=moment(said)) if said else event


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """Read an RFC 3339 time as Kubernetes writes it."""
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
