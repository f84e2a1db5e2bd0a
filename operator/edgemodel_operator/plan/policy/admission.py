"""Pods that the API server does not admit: a quota, a LimitRange or a policy is in the way, and no pod shows it.

The Job controller says so in events, the Deployment controller in a condition.
"""

from collections.abc import Iterable

from edgemodel_operator.api import reasons
from edgemodel_operator.observed import Deployment, Event

FAILED_CREATE = "FailedCreate"


def refused_pods(deployment: Deployment) -> tuple[str, str] | None:
    """Reason and words of what keeps a Deployment's pods from being made."""
    failure = deployment.condition("ReplicaFailure")
    return explain(failure.message) if failure is not None and failure.status == "True" else None


def refused_job_pod(events: Iterable[Event]) -> str | None:
    """The words of what keeps a Job's pod from being made, if that is the last thing its controller said. ``events``
    are about the Job, oldest first."""
    last = next(reversed(list(events)), None)
    return last.message if last is not None and last.reason == FAILED_CREATE else None


def explain(words: str) -> tuple[str, str]:
    """The reason, and the words without what they begin with for every pod."""
    said = words.partition("is forbidden: ")[2] or words
    reason = reasons.QUOTA_EXCEEDED if "exceeded quota" in said else reasons.PODS_REJECTED
    return reason, said.strip().rstrip(".")
