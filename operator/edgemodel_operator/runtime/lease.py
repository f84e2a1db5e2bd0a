"""Whose turn it is: of several operators with one Lease, one writes. Pure; ``leadership`` talks to the API server.

As in client-go, no process reads another one's clock. Whoever waits measures by its own clock for how long the Lease
has not changed; whoever holds it stops writing well before that time can be over, counted from before it asked for its
last renewal. Seconds are those of any clock that goes on while the process, or its machine, sleeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from edgemodel_operator.observed import Object

LEASE_SECONDS = 12
"""A Lease that has not changed for so long may be taken."""
WRITE_SECONDS = 8
"""For so long after a renewal its holder may write; the rest is for requests that are on their way."""
RENEW_SECONDS = 3
"""Pause of the holder between two renewals."""
LOOK_SECONDS = 2
"""Pause of the others between two looks."""
RETRY_SECONDS = 1
"""Pause after a call that failed."""

Step = Literal["hold", "acquire", "wait"]


@dataclass(frozen=True)
class Lease:
    """A ``coordination.k8s.io/v1`` Lease as read. ``holder`` is empty once it was given back."""

    holder: str
    seconds: float
    acquired: str
    transitions: int
    version: str


@dataclass(frozen=True)
class Turn:
    """What one process knows, by its own clock. Each method answers what it knows next."""

    identity: str
    lease: Lease | None = None
    """As seen last; None: there is none."""
    since: float = 0.0
    """When ``lease`` was seen first in this version."""
    renewed: float | None = None
    """When the last successful renewal was asked for; None: this process does not hold the Lease."""

    def saw(self, lease: Lease | None, now: float) -> "Turn":
        """After a look. Another holder ends the turn, whatever was left of it."""
        same = lease is not None and self.lease is not None and lease.version == self.lease.version
        mine = lease is not None and lease.holder == self.identity
        return replace(self, lease=lease, since=self.since if same else now, renewed=self.renewed if mine else None)

    def took(self, lease: Lease, asked: float) -> "Turn":
        """After the API server took this process's own write, which was sent at ``asked``."""
        return replace(self, lease=lease, since=asked, renewed=asked)

    def step(self, now: float) -> Step:
        """What to do about the Lease. ``acquire`` and ``hold`` are both a write on the version that was seen."""
        if self.lease is None or not self.lease.holder:
            return "acquire"
        if self.lease.holder == self.identity:
            return "hold"
        return "acquire" if now - self.since >= self.lease.seconds else "wait"

    def seconds_left(self, now: float) -> float:
        """For how long this process may still write; 0 where it may not."""
        return 0.0 if self.renewed is None else max(0.0, self.renewed + WRITE_SECONDS - now)

    def pause(self, now: float) -> float:
        """Seconds until the next look or renewal."""
        if self.renewed is not None:
            return RENEW_SECONDS
        left = self.since + self.lease.seconds - now if self.lease is not None and self.lease.holder else 0.0
        return min(LOOK_SECONDS, max(left, 0.1))


def read(raw: Mapping[str, Any]) -> Lease:
    """A Lease from what the API server says; fields that nobody has written yet count as an expired one."""
    spec = raw.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        seconds=float(spec.get("leaseDurationSeconds") or 0),
        acquired=spec.get("acquireTime") or "",
        transitions=int(spec.get("leaseTransitions") or 0),
        version=raw["metadata"]["resourceVersion"],
    )


def claim(turn: Turn, namespace: str, name: str, now: datetime) -> Object:
    """The Lease with this process as its holder, on the version that was seen: one of two such writes fails."""
    before = turn.lease
    mine = before is not None and before.holder == turn.identity
    spec = {
        "holderIdentity": turn.identity,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": before.acquired if before is not None and mine and before.acquired else _micro_time(now),
        "renewTime": _micro_time(now),
        "leaseTransitions": 0 if before is None else before.transitions + (not mine),
    }
    return _lease(turn, namespace, name, spec)


def resignation(turn: Turn, namespace: str, name: str, now: datetime) -> Object:
    """The Lease without a holder: the next process need not wait."""
    transitions = 0 if turn.lease is None else turn.lease.transitions
    spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time(now)}
    return _lease(turn, namespace, name, spec | {"leaseTransitions": transitions})


def _lease(turn: Turn, namespace: str, name: str, spec: Mapping[str, object]) -> Object:
    metadata = {"name": name, "namespace": namespace}
    if turn.lease is not None:
        metadata["resourceVersion"] = turn.lease.version
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": dict(spec)}


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
