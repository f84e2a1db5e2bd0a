"""What the watch caches say about one EdgeModel: plain values, read by policies and never written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from edgemodel_contract.progress import Progress
from edgemodel_operator.api.labels import SITE_LABEL, TASK_LABEL

Object = dict[str, Any]
"""A Kubernetes object as JSON data."""


SERVER_CONTAINER = "server"
COMPRESSION_CONTAINER = "compress"
CONTAINERS = (SERVER_CONTAINER, COMPRESSION_CONTAINER)
"""Names of the operator's own containers, one in each of its pods."""


@dataclass(frozen=True)
class Node:
    """A node that a site may be made of."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    """The kubelet reports, and says it is ready."""
    open: bool = True
    """Takes pods without special tolerations: not cordoned, and no taint but those of its own condition."""
    address: str = ""
    """Where it is reached: its external address where it has one, else its internal one."""


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
    node: str = ""
    """Where it runs; empty before that is decided."""
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


@dataclass(frozen=True)
class Condition:
    """What a controller says about an object, as one of its conditions."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    changed_at: datetime | None = None
    """When ``status`` changed."""
    updated_at: datetime | None = None
    """When the controller said it last, where it tells."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """What decisions need to know of an object that the operator made for an EdgeModel."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    applied_hash: str | None = None
    """Digest of what was applied."""
    raw: Object = field(default_factory=dict, repr=False, compare=False)
    """The object itself, for comparison with what it should be."""

    @property
    def site(self) -> str:
        """The site it is for; empty where it is for none."""
        return self.labels.get(SITE_LABEL, "")

    @property
    def task(self) -> str:
        """Tag of the compression task that it is for; empty where it is for none."""
        return self.labels.get(TASK_LABEL, "")


@dataclass(frozen=True, kw_only=True)
class Deployment(Child):
    """The servers of one site. Counts are of replicas."""

    replicas: int = 1
    """As asked for."""
    image: str | None = None
    revision: str | None = None
    """Digest of the pod template, as the operator applied it."""
    paused: bool = False
    current: bool = False
    """The Deployment controller has seen the last change."""
    total: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of type ``kind``."""
        return next((item for item in self.conditions if item.type == kind), None)


@dataclass(frozen=True, kw_only=True)
class Job(Child):
    """One attempt at a compression."""

    attempt: int = 1
    end: Condition | None = None
    """Complete or Failed, once it is."""


@dataclass(frozen=True)
class Port:
    """One port of a Service. ``node`` is where it is on nodes, None where it is not."""

    name: str
    number: int
    node: int | None = None


@dataclass(frozen=True, kw_only=True)
class Service(Child):
    """What the servers of one site are reached by."""

    type: str = "ClusterIP"
    ports: tuple[Port, ...] = ()
    local: bool = False
    """From outside, only nodes with a server answer."""
    ingress: tuple[str, ...] = ()
    """Addresses and names that a load balancer has given it."""

    @property
    def secure(self) -> bool:
        """Users reach the site over TLS."""
        return any(port.name == "https" for port in self.ports)


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
    """Why a child is not what was asked for. ``reason`` is one of those that the API gives for children."""

    reason: str
    message: str


Difference = tuple[str, str]
"""Where an object is not what was applied, such as ``spec.replicas``, and what stands there."""

C = TypeVar("C", bound=Child)


@dataclass(frozen=True)
class Observed:
    """Everything known about one EdgeModel's surroundings. ``children`` are its own."""

    nodes: tuple[Node, ...] = ()
    children: Mapping[str, Mapping[str, Child]] = field(default_factory=dict)
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

    @property
    def deployments(self) -> Mapping[str, Deployment]:
        """By name."""
        return self._of(Deployment)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """By name."""
        return self._of(Job)

    @property
    def services(self) -> Mapping[str, Service]:
        """By name."""
        return self._of(Service)

    def of_kind(self, kind: str) -> Mapping[str, Child]:
        """The children of one kind, by name."""
        return self.children.get(kind, {})

    def present(self, obj: Object) -> Object | None:
        """What is there of a child that is wanted."""
        child = self.of_kind(obj["kind"]).get(obj["metadata"]["name"])
        return None if child is None else child.raw

    def _of(self, kind: type[C]) -> dict[str, C]:
        return {name: child for name, child in self.of_kind(kind.__name__).items() if isinstance(child, kind)}


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """Read an RFC 3339 time as Kubernetes writes it."""
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
