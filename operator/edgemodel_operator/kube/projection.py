"""From objects of the API server to the few facts that decisions need."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgemodel_operator.api.labels import ATTEMPT_LABEL, HASH_ANNOTATION, REVISION_ANNOTATION
from edgemodel_operator.observed import (
    CONTAINERS,
    SERVER_CONTAINER,
    Child,
    Condition,
    Deployment,
    Event,
    Job,
    Node,
    Pod,
    Port,
    Service,
    moment,
)

_CONDITION_TAINTS = "node.kubernetes.io/"
"""Prefix of the taints that Kubernetes sets and lifts itself."""


def child_from(kind: str, raw: Mapping[str, Any]) -> Child:
    """Project a child: to the struct of its ``kind`` where decisions look at more than what all have in common."""
    meta = raw["metadata"]
    common: dict[str, Any] = {
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "labels": dict(meta.get("labels") or {}),
        "created_at": moment(meta["creationTimestamp"]) if meta.get("creationTimestamp") else None,
        "applied_hash": _annotation(raw, HASH_ANNOTATION),
        "raw": raw,
    }
    project = _PROJECTIONS.get(kind)
    return Child(**common) if project is None else project(raw, common)


def deployment_from(raw: Mapping[str, Any], common: Mapping[str, Any]) -> Deployment:
    """Project an apps/v1 Deployment; ``common`` is what all children have."""
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    containers = spec.get("template", {}).get("spec", {}).get("containers") or []
    return Deployment(
        **common,
        replicas=spec.get("replicas", 1),
        image=next((item["image"] for item in containers if item["name"] == SERVER_CONTAINER), None),
        revision=_annotation(raw, REVISION_ANNOTATION),
        paused=bool(spec.get("paused")),
        current=status.get("observedGeneration", 0) >= raw["metadata"].get("generation", 0),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        conditions=_conditions(status),
    )


def job_from(raw: Mapping[str, Any], common: Mapping[str, Any]) -> Job:
    """Project a batch/v1 Job; it is the first attempt where somebody spoilt its label."""
    attempt = common["labels"].get(ATTEMPT_LABEL, "")
    ends = (
        item
        for item in _conditions(raw.get("status") or {})
        if item.type in ("Complete", "Failed") and item.status == "True"
    )
    return Job(**common, attempt=int(attempt) if attempt.isdecimal() else 1, end=next(ends, None))


def service_from(raw: Mapping[str, Any], common: Mapping[str, Any]) -> Service:
    """Project a v1 Service."""
    spec, status = raw.get("spec") or {}, raw.get("status") or {}
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    return Service(
        **common,
        type=spec.get("type", "ClusterIP"),
        ports=tuple(Port(item.get("name", ""), item["port"], item.get("nodePort")) for item in spec.get("ports") or []),
        local=spec.get("externalTrafficPolicy") == "Local",
        ingress=tuple(item.get("hostname") or item.get("ip", "") for item in ingress),
    )


_PROJECTIONS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Child]] = {
    "Deployment": deployment_from,
    "Job": job_from,
    "Service": service_from,
}


def node_from(raw: Mapping[str, Any]) -> Node:
    """Project a v1 Node."""
    conditions = raw.get("status", {}).get("conditions") or []
    spec = raw.get("spec") or {}
    known = {item["type"]: item["address"] for item in reversed(raw.get("status", {}).get("addresses") or [])}
    return Node(
        name=raw["metadata"]["name"],
        labels=dict(raw["metadata"].get("labels") or {}),
        ready=any(item["type"] == "Ready" and item["status"] == "True" for item in conditions),
        open=not spec.get("unschedulable")
        and not any(
            taint["effect"] in ("NoSchedule", "NoExecute") and not taint["key"].startswith(_CONDITION_TAINTS)
            for taint in spec.get("taints") or []
        ),
        address=known.get("ExternalIP") or known.get("InternalIP", ""),
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
        node=(raw.get("spec") or {}).get("nodeName", ""),
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


def _conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            item["type"],
            item["status"],
            item.get("reason", ""),
            item.get("message", ""),
            changed_at=moment(item["lastTransitionTime"]) if item.get("lastTransitionTime") else None,
            updated_at=moment(item["lastUpdateTime"]) if item.get("lastUpdateTime") else None,
        )
        for item in status.get("conditions") or []
    )


def _annotation(raw: Mapping[str, Any], name: str) -> str | None:
    value: str | None = (raw["metadata"].get("annotations") or {}).get(name)
    return value
