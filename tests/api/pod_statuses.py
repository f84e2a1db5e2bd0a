"""Pod statuses as kubelets and the scheduler would write them. Each function answers the body of a merge patch."""

from datetime import UTC, datetime

from tests.api.client import Object


def ready(container: str, ip: str | None = None) -> Object:
    """Runs, and its readiness probe passes."""
    status = _status("Running", container, {"running": {"startedAt": _now()}}, ready=True)
    status["conditions"] = [_condition("PodScheduled", "True"), _condition("Ready", "True")]
    if ip is not None:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return {"status": status}


def running(container: str) -> Object:
    """Runs, without being ready."""
    return {"status": _status("Running", container, {"running": {"startedAt": _now()}})}


def succeeded(container: str, message: str) -> Object:
    """Ended with code 0 and a termination message."""
    return {"status": _status("Succeeded", container, _ended(0, "Completed", message))}


def failed(container: str, code: int, reason: str = "Error", message: str = "") -> Object:
    """Ended with another code; OOMKilled and the like are reasons."""
    return {"status": _status("Failed", container, _ended(code, reason, message))}


def evicted(message: str) -> Object:
    """The kubelet stopped the pod: no container status is left."""
    return {"status": {"phase": "Failed", "reason": "Evicted", "message": message, "containerStatuses": []}}


def unschedulable(message: str) -> Object:
    """The scheduler found no node."""
    condition = _condition("PodScheduled", "False") | {"reason": "Unschedulable", "message": message}
    return {"status": {"phase": "Pending", "conditions": [condition]}}


def being_created(container: str, started_at: str) -> Object:
    """A kubelet took the pod at ``started_at``; its volumes or its image are not there yet."""
    status = waiting(container, "ContainerCreating", "")
    status["status"]["startTime"] = started_at
    return status


def waiting(container: str, reason: str, message: str) -> Object:
    """Scheduled, but the container does not start, because of its image for instance."""
    status = _status("Pending", container, {"waiting": {"reason": reason, "message": message}})
    status["conditions"] = [_condition("PodScheduled", "True"), _condition("Ready", "False")]
    return {"status": status}


def crashing(container: str, code: int, reason: str, message: str = "") -> Object:
    """Ended, and waits to be started again."""
    status = _status("Running", container, {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    status["containerStatuses"][0] |= {"restartCount": 2, "lastState": _ended(code, reason, message)}
    status["conditions"] = [_condition("PodScheduled", "True"), _condition("Ready", "False")]
    return {"status": status}


def _status(phase: str, container: str, state: Object, *, ready: bool = False) -> Object:
    return {
        "phase": phase,
        "startTime": _now(),
        "containerStatuses": [
            {"name": container, "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state}
        ],
    }


def _ended(code: int, reason: str, message: str) -> Object:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "message": message,
            "startedAt": _now(),
            "finishedAt": _now(),
        }
    }


def _condition(kind: str, status: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": _now()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
