"""Resources as an API server would give them, built in a few words. Raw dicts go through the operator's own readers."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from edgemodel_contract.encoding import encode
from edgemodel_contract.result import Candidate, Failure, FailureReason, Measurement, Success, encode_result
from edgemodel_operator.api import EDGE_NODE_LABEL, NODE_SITE_LABEL, EdgeModel, Spec, Status, parse
from edgemodel_operator.api.labels import ATTEMPT_LABEL, SITE_LABEL, TASK_LABEL
from edgemodel_operator.kube.projection import child_from, node_from, pod_from
from edgemodel_operator.manifests.names import serving_selector
from edgemodel_operator.observed import (
    COMPRESSION_CONTAINER,
    SERVER_CONTAINER,
    Deployment,
    Job,
    Node,
    Object,
    Pod,
    timestamp,
)
from edgemodel_operator.settings import Settings

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""The fixed clock."""

SETTINGS = Settings(
    inference_image=f"registry.example:5000/edgemodel/server@sha256:{'1' * 64}",
    compression_image=f"registry.example:5000/edgemodel/compressor@sha256:{'2' * 64}",
    repository="registry.example:5000/models",
)


def after(seconds: float) -> datetime:
    """``NOW`` and some seconds."""
    return NOW + timedelta(seconds=seconds)


def image(version: int) -> str:
    """The image that the n-th version of a model is packaged as."""
    return f"registry.example:5000/models/default/digits@sha256:{version:064d}"


class ModelBuilder:
    """``edge_model().set("scaling.minReplicas", 2).build()``; every method answers a new builder."""

    def __init__(self, raw: Object) -> None:
        self._raw = raw

    def set(self, path: str, value: Any) -> ModelBuilder:
        """``path`` is dotted, below ``spec``. A change of the spec is a new generation, as on a server."""
        raw = copy.deepcopy(self._raw)
        place = raw["spec"]
        *parents, last = path.split(".")
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
        raw["metadata"]["generation"] += 1
        return ModelBuilder(raw)

    def remove(self, path: str) -> ModelBuilder:
        raw = copy.deepcopy(self._raw)
        place = raw["spec"]
        *parents, last = path.split(".")
        for part in parents:
            place = place[part]
        del place[last]
        raw["metadata"]["generation"] += 1
        return ModelBuilder(raw)

    def status(self, status: Status) -> ModelBuilder:
        """As the server gives back what was written."""
        raw = copy.deepcopy(self._raw)
        raw["status"] = msgspec.json.decode(msgspec.json.encode(status))
        return ModelBuilder(raw)

    def raw(self) -> Object:
        return copy.deepcopy(self._raw)

    def build(self) -> EdgeModel:
        return parse(self.raw())

    def spec(self) -> Spec:
        model = self.build()
        assert model.spec is not None, model.spec_error
        return model.spec


def edge_model(name: str = "digits", namespace: str = "default", uid: str = "uid-of-digits") -> ModelBuilder:
    """The shortest valid EdgeModel."""
    return ModelBuilder(
        {
            "apiVersion": "edge5g.io/v1alpha1",
            "kind": "EdgeModel",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "generation": 1},
            "spec": {"model": {"uri": "https://models.example/digits.onnx"}},
        }
    )


def node(name: str, site: str | None = None, *, ready: bool = True, edge: bool = True, **labels: str) -> Node:
    found = dict(labels)
    if edge:
        found[EDGE_NODE_LABEL] = ""
    if site is not None:
        found[NODE_SITE_LABEL] = site
    return node_from(
        {
            "metadata": {"name": name, "labels": found},
            "status": {
                "conditions": [
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "Ready", "status": "True" if ready else "Unknown"},
                ]
            },
        }
    )


class PodBuilder:
    """A pod with one container, freshly created."""

    def __init__(self, raw: Object) -> None:
        self._raw = raw

    def _changed(self, **status: Any) -> PodBuilder:
        raw = copy.deepcopy(self._raw)
        raw["status"] |= status
        return PodBuilder(raw)

    def _container(self, **fields: Any) -> PodBuilder:
        mine = SERVER_CONTAINER if SITE_LABEL in self._raw["metadata"]["labels"] else COMPRESSION_CONTAINER
        statuses = self._raw["status"].get("containerStatuses") or []
        known = next((item for item in statuses if item["name"] == mine), {"name": mine, "restartCount": 0})
        others = [item for item in statuses if item["name"] != mine]
        return self._changed(containerStatuses=[*others, known | fields])

    def beside(self, container: str, **state: Any) -> PodBuilder:
        """Somebody put a container of their own into the pod; the API server lists it first."""
        statuses = self._raw["status"].get("containerStatuses") or []
        injected = {"name": container, "restartCount": 0, "ready": True, "state": state or {"running": {}}}
        return self._changed(containerStatuses=[injected, *statuses])

    def unschedulable(self, message: str) -> PodBuilder:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return self._changed(conditions=[condition])

    def started(self, at: datetime) -> PodBuilder:
        """A kubelet has taken it."""
        return self._changed(startTime=timestamp(at))

    def waiting(self, reason: str, message: str = "") -> PodBuilder:
        return self._container(state={"waiting": {"reason": reason, "message": message}})

    def running(self) -> PodBuilder:
        return self._container(state={"running": {}})._changed(phase="Running")

    def ready(self, ip: str = "10.0.0.1") -> PodBuilder:
        return self.running()._changed(podIP=ip, conditions=[{"type": "Ready", "status": "True"}])

    def exited(
        self, code: int, message: str = "", reason: str = "Error", at: datetime = NOW, *, again: bool = False
    ) -> PodBuilder:
        """The container ended; with ``again`` it was started once more."""
        ended = {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": timestamp(at)}}
        if again:
            statuses = self._raw["status"].get("containerStatuses") or [{"restartCount": 0}]
            count = statuses[-1]["restartCount"]
            return self._container(state={"running": {}}, lastState=ended, restartCount=count + 1)
        return self._container(state=ended)._changed(phase="Failed" if code else "Succeeded")

    def evicted(self, message: str = "The node was low on resource: memory.") -> PodBuilder:
        return self._changed(phase="Failed", reason="Evicted", message=message, containerStatuses=[])

    def deleting(self) -> PodBuilder:
        raw = copy.deepcopy(self._raw)
        raw["metadata"]["deletionTimestamp"] = timestamp(NOW)
        return PodBuilder(raw)

    def raw(self) -> Object:
        return copy.deepcopy(self._raw)

    def build(self) -> Pod:
        return pod_from(self._raw)


def pod(name: str, labels: dict[str, str], owner: str = "") -> PodBuilder:
    owners = [{"uid": owner, "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "default", "labels": labels, "ownerReferences": owners}
    return PodBuilder({"metadata": metadata, "status": {"phase": "Pending"}})


def server_pod(site: str, name: str | None = None, model: str = "digits") -> PodBuilder:
    return pod(name or f"{model}-{site}-pod", serving_selector(model, site))


def job_pod(job: str, name: str | None = None, task: str = "") -> PodBuilder:
    """The Job controller copies the template's labels and adds its own."""
    return pod(name or f"{job}-pod", {"job-name": job, TASK_LABEL: task}, f"uid-of-{job}")


def finished(job: Object, kind: str, reason: str = "", at: datetime = NOW) -> Object:
    """A Job with its closing condition, Complete or Failed."""
    condition = {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": timestamp(at)}
    return job | {"status": {"conditions": [condition]}}


def job(name: str, task: str, attempt: int = 1) -> Object:
    labels = {TASK_LABEL: task, ATTEMPT_LABEL: str(attempt)}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-of-{name}", "labels": labels}
    return {"kind": "Job", "metadata": metadata, "spec": {}}


def as_job(raw: Object) -> Job:
    found = child_from("Job", raw)
    assert isinstance(found, Job)
    return found


def as_deployment(raw: Object) -> Deployment:
    found = child_from("Deployment", raw)
    assert isinstance(found, Deployment)
    return found


def deployment_status(
    *,
    wanted: int,
    generation: int,
    updated: int | None = None,
    available: int | None = None,
    total: int | None = None,
    reason: str = "NewReplicaSetAvailable",
    at: datetime = NOW,
) -> Object:
    """As the Deployment controller writes it: zeros are left out."""
    updated = wanted if updated is None else updated
    available = updated if available is None else available
    counts = {
        "replicas": updated if total is None else total,
        "updatedReplicas": updated,
        "readyReplicas": available,
        "availableReplicas": available,
    }
    progress = "False" if reason == "ProgressDeadlineExceeded" else "True"
    return {
        "observedGeneration": generation,
        **{name: count for name, count in counts.items() if count},
        "conditions": [{"type": "Progressing", "status": progress, "reason": reason, "lastUpdateTime": timestamp(at)}],
    }


ORIGINAL = Measurement(
    size=46_800_000, latency_p50=0.030, latency_p95=0.0342, threads=1, accuracy=0.991, metric="Top1", samples=360
)
SMALL = Measurement(
    size=11_800_000, latency_p50=0.0100, latency_p95=0.0114, threads=1, accuracy=0.989, metric="Top1", samples=360
)


def success(task: str, version: int = 1) -> Success:
    return Success(
        task=task,
        image=image(version),
        source_digest=f"sha256:{'a' * 64}",
        model_digest=f"sha256:{'b' * 64}",
        original=ORIGINAL,
        chosen=Candidate(method="static-int8", measured=SMALL),
        others=(Candidate(method="dynamic-int8", measured=ORIGINAL, rejected="larger"),),
        cpu="Example CPU",
    )


def failure(task: str, reason: FailureReason, message: str, closest: Candidate | None = None) -> Failure:
    original = ORIGINAL if closest else None
    return Failure(task=task, reason=reason, message=message, closest=closest, original=original)


def termination_message(result: Success | Failure) -> str:
    return encode_result(result).decode()


def as_json(value: Any) -> Any:
    """``value`` as another program reads it."""
    return msgspec.json.decode(encode(value))
