"""Where the compression of a task stands, from its Jobs and their pods, and whether to try (again)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgemodel_contract.progress import Progress
from edgemodel_contract.result import RETRYABLE, Failure, Success, decode_result
from edgemodel_contract.task import Task
from edgemodel_operator.api import reasons
from edgemodel_operator.observed import Condition, Job, Pod
from edgemodel_operator.plan.policy.admission import explain
from edgemodel_operator.plan.policy.mounts import MOUNT_FAILED, absent_object

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=10)
UNEXPLAINED_ATTEMPTS = 3
"""Failures that nobody foresaw are tried so often, then left to a person."""
EVICTED_REASONS = frozenset({"Evicted", "NodeLost", "Shutdown", "NodeShutdown", "Terminated", "Preempting"})


@dataclass(frozen=True)
class Done:
    """The image is in the registry."""

    result: Success


@dataclass(frozen=True)
class Running:
    """A Job is on its way. ``job`` is its name, None while it does not exist yet; ``reason`` names what holds it up."""

    attempt: int
    job: str | None
    progress: Progress | None = None
    reason: str = reasons.COMPRESSING
    message: str = ""


@dataclass(frozen=True)
class Failed:
    """The last attempt failed. With ``retry_at`` there will be another; without, the spec has to change."""

    attempt: int
    job: str
    reason: str
    message: str
    retry_at: datetime | None
    failure: Failure | None = None


Compression = Done | Running | Failed

RETRIED = frozenset({reasons.JOB_EVICTED, reasons.QUOTA_EXCEEDED, reasons.PODS_REJECTED})
"""Reasons of the operator's own that may pass without a change of the EdgeModel."""
OOM_KILLED = "OOMKilled"
"""The kubelet's reason for a container of which the kernel killed a process."""
_OUT_OF_MEMORY = (
    reasons.JOB_OUT_OF_MEMORY,
    "The compression Job ran out of memory; raise spec.compression.job.resources.limits.memory.",
)


def decide(
    task: Task,
    jobs: Mapping[str, Job],
    pods: Iterable[Pod],
    progress: Progress | None,
    now: datetime,
    refused: Mapping[str, str] | None = None,
) -> Compression:
    """Where ``task`` stands. The newest attempt counts; attempts of other tasks do not. ``refused`` has the words with
    which the API server refused the pod of a Job, by the Job's name.
    """
    mine = [job for job in jobs.values() if job.task == task.tag]
    if not mine:
        return Running(attempt=1, job=None, message="The compression Job is being created.")
    job = max(mine, key=lambda item: item.attempt)
    name, attempt = job.name, job.attempt
    pod = _newest_pod(pods, job.uid)
    if pod is not None and pod.exit_code is not None:
        try:
            result = decode_result(pod.termination_message)
        except ValueError:
            result = None
        if isinstance(result, Success):
            return Done(result)
        if isinstance(result, Failure):
            if result.reason == "SourceTooLarge" and pod.exit_reason == OOM_KILLED:
                # The program outlives its killed worker and knows what happened; only we know what can be done.
                return _failed(attempt, name, *_OUT_OF_MEMORY, _ended(job, pod, now), now, result)
            return _failed(attempt, name, result.reason, result.message, _ended(job, pod, now), now, result)
    condition = job.end
    words = (refused or {}).get(name)
    if condition is None or _lags_behind(pod, condition):
        if pod is None and words is not None:
            return _not_admitted(attempt, name, words)
        return _running(attempt, name, pod, progress)
    if condition.type == "Complete" and pod is None:
        # The pod, and with it the result, is gone; the registry still has the image, so asking again is cheap.
        return Running(attempt=attempt + 1, job=None, message="The result is being read from the registry again.")
    reason, message = _explain(condition, pod, words)
    return _failed(attempt, name, reason, message, _ended(job, pod, now), now, None)


def _failed(
    attempt: int, job: str, reason: str, message: str, ended: datetime, now: datetime, failure: Failure | None
) -> Compression:
    # Capped before it is multiplied: after a day of failures the power is larger than any timedelta.
    retry_at: datetime | None = ended + min(FIRST_RETRY * 2 ** min(attempt - 1, 16), LONGEST_RETRY)
    if reason == reasons.INTERNAL_ERROR and attempt >= UNEXPLAINED_ATTEMPTS:
        retry_at = None
    if reason not in RETRYABLE and reason not in RETRIED:
        retry_at = None
    if retry_at is not None and retry_at <= now:
        return Running(attempt=attempt + 1, job=None, reason=reason, message=f"Trying again after: {message}")
    return Failed(attempt, job, reason, message, retry_at, failure)


def _explain(condition: Condition, pod: Pod | None, refused: str | None) -> tuple[str, str]:
    """Reason and sentence for a Job that failed without a word of its own."""
    if condition.reason == "DeadlineExceeded" and pod is None and refused is not None:
        reason, said = explain(refused)
        return (
            reason,
            f"The compression Job never got its pod: {said}. Change the quota or the policy, then apply again.",
        )
    if condition.reason == "DeadlineExceeded":
        return (
            reasons.JOB_DEADLINE_EXCEEDED,
            "The compression Job ran longer than spec.compression.job.activeDeadlineSeconds; raise it, or give the Job "
            "more CPU in spec.compression.job.resources.",
        )
    if pod is None:
        return reasons.INTERNAL_ERROR, "The compression Job failed and its pod is gone; see the events of the Job."
    if pod.exit_reason == OOM_KILLED:
        return _OUT_OF_MEMORY
    if pod.reason in EVICTED_REASONS:
        return reasons.JOB_EVICTED, f"The node stopped the compression Job: {pod.message or pod.reason}"
    return (
        reasons.INTERNAL_ERROR,
        f"The compression Job ended with exit code {pod.exit_code} ({pod.exit_reason or pod.reason or 'no reason'}) "
        f"and left no result; see the log of pod {pod.name}.",
    )


def _not_admitted(attempt: int, job: str, words: str) -> Running:
    reason, said = explain(words)
    return Running(
        attempt,
        job,
        reason=reason,
        message=f"The compression Job's pod cannot be created: {said}. Change the quota or the policy, or "
        "spec.compression.job.resources; Kubernetes tries again by itself, with growing pauses.",
    )


def _running(attempt: int, job: str, pod: Pod | None, progress: Progress | None) -> Running:
    if pod is None:
        return Running(attempt, job, message="The compression Job is waiting for its pod.")
    if pod.unschedulable is not None:
        return Running(
            attempt,
            job,
            reason=reasons.JOB_UNSCHEDULABLE,
            message=f"No node can run the compression Job: {pod.unschedulable} "
            "See spec.compression.job: resources, nodeSelector and podTemplate.",
        )
    if pod.waiting_reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        return Running(
            attempt,
            job,
            reason=reasons.JOB_IMAGE_PULL_FAILED,
            message=f"The compression image cannot be pulled: {pod.waiting_message} "
            "Check the operator's EDGEMODEL_COMPRESSION_IMAGE and EDGEMODEL_REGISTRY_SECRET.",
        )
    if pod.waiting_reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Running(
            attempt,
            job,
            reason=reasons.JOB_CANNOT_START,
            message=f"The compression Job's container cannot start: {pod.waiting_message}",
        )
    if pod.waiting_reason == MOUNT_FAILED:
        absent = absent_object(pod.waiting_message)
        cause = f"{absent} does not exist" if absent else pod.waiting_message
        return Running(
            attempt,
            job,
            reason=reasons.JOB_CANNOT_START,
            message=f"The compression Job is waiting for a volume: {cause}. Create it in the EdgeModel's namespace, or "
            "correct spec.model.secretRef, spec.compression.job.podTemplate.extraVolumes or the operator's "
            "EDGEMODEL_REGISTRY_SECRET and EDGEMODEL_REGISTRY_CA_CONFIG_MAP.",
        )
    if progress is None:
        return Running(attempt, job, message="The compression Job is starting.")
    return Running(attempt, job, progress, message=f"{progress.step}: {progress.message}")


def _newest_pod(pods: Iterable[Pod], job_uid: str) -> Pod | None:
    # Not by name: an EdgeModel that was made anew has Jobs of the old names, whose pods may still be about.
    mine = [pod for pod in pods if pod.owner == job_uid]
    # A pod that was deleted and replaced may still be there; one with an exit code says more than one without.
    return max(mine, key=lambda pod: (not pod.deleting, pod.exit_code is not None, pod.name), default=None)


def _lags_behind(pod: Pod | None, condition: Condition) -> bool:
    """Jobs and pods come by two watches: the Job's end may be seen before its pod's, which has the result."""
    if pod is None or pod.deleting or condition.reason == "DeadlineExceeded":
        return False
    return pod.phase in ("Pending", "Running")


def _ended(job: Job, pod: Pod | None, now: datetime) -> datetime:
    """The pod's own time where it is known, so that a retry is not put off when the Job's condition follows."""
    if pod is not None and pod.ended_at is not None:
        return pod.ended_at
    return job.end.changed_at if job.end is not None and job.end.changed_at is not None else now
