"""The reasons of conditions, sites and events: part of the API, for people and for programs that react to them.

Each reason is a constant. ``NOT_READY`` says of every reason that ``Ready=False`` can have whether ``Stalled`` is True
with it and what a person does about it; docs/reference/reasons.md is generated from it. The reasons with which a
compression Job ends are those of ``edgemodel_contract.result``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

READY: Final = "Ready"
SUSPENDED: Final = "Suspended"
INVALID_SPEC: Final = "InvalidSpec"
NAME_CONFLICT: Final = "NameConflict"
REJECTED: Final = "Rejected"
NODE_PORT_CONFLICT: Final = "NodePortConflict"
CHILD_CONTESTED: Final = "ChildContested"

COMPRESSING: Final = "Compressing"
COMPRESSED: Final = "Compressed"
JOB_OUT_OF_MEMORY: Final = "JobOutOfMemory"
JOB_DEADLINE_EXCEEDED: Final = "JobDeadlineExceeded"
JOB_EVICTED: Final = "JobEvicted"
JOB_UNSCHEDULABLE: Final = "JobUnschedulable"
JOB_IMAGE_PULL_FAILED: Final = "JobImagePullFailed"
JOB_CANNOT_START: Final = "JobCannotStart"
QUOTA_EXCEEDED: Final = "QuotaExceeded"
PODS_REJECTED: Final = "PodsRejected"
INTERNAL_ERROR: Final = "InternalError"

NO_MATCHING_NODES: Final = "NoMatchingNodes"
SITES_MISSING: Final = "SitesMissing"
SITES_DISCONNECTED: Final = "SitesDisconnected"
SITES_UNAVAILABLE: Final = "SitesUnavailable"
ROLLING_OUT: Final = "RollingOut"
ROLLED_OUT: Final = "RolledOut"
ROLLOUT_PAUSED: Final = "RolloutPaused"
ROLLOUT_STOPPED: Final = "RolloutStopped"
NOT_DEPLOYED: Final = "NotDeployed"
AVAILABLE: Final = "Available"
STARTING: Final = "Starting"

WAITING: Final = "Waiting"
WAITING_FOR_WAVE: Final = "WaitingForWave"
UPDATING: Final = "Updating"
PROGRESSING: Final = "Progressing"
DISCONNECTED: Final = "Disconnected"
DEPLOYMENT_PAUSED: Final = "DeploymentPaused"
PROGRESS_DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"
INSUFFICIENT_CAPACITY: Final = "InsufficientCapacity"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
SECRET_NOT_FOUND: Final = "SecretNotFound"  # noqa: S105
CANNOT_START: Final = "CannotStart"
SERVER_CRASHING: Final = "ServerCrashing"
SERVER_OUT_OF_MEMORY: Final = "ServerOutOfMemory"

CAPACITY_LIMITED: Final = "CapacityLimited"
AT_MAXIMUM: Final = "AtMaximum"
SCALING_UP: Final = "ScalingUp"
SCALING_DOWN: Final = "ScalingDown"
ON_TARGET: Final = "OnTarget"
NO_METRICS: Final = "NoMetrics"
NO_TARGET: Final = "NoTarget"
FIXED: Final = "Fixed"
EXTERNAL: Final = "External"
REPLICAS_CONTESTED: Final = "ReplicasContested"


class Stalls(Enum):
    """Whether ``Stalled`` is True: nothing more happens until a person acts."""

    NO = "no"
    YES = "yes"
    AFTER_ATTEMPTS = "after 3 attempts"
    AFTER_DEADLINE = "after the Deployment's progress deadline"


@dataclass(frozen=True)
class Explanation:
    """What a reason of ``Ready=False`` means for a person. ``expected``: it belongs to the ordinary course of things,
    so its event is Normal and not a Warning."""

    stalls: Stalls
    remedy: str
    expected: bool = False


_SOURCE = Explanation(
    Stalls.NO,
    "Check `spec.model.uri` and its Secret, and the dataset's; it is retried at intervals of up to ten minutes.",
)
_REGISTRY = Explanation(
    Stalls.NO, "Check the registry and the operator's `EDGEMODEL_REGISTRY_SECRET`; it is retried in the same way."
)
_MODEL = Explanation(Stalls.YES, "The source is not a model that can be served; the message says why.")
_FIELD = Explanation(Stalls.YES, "Correct the field that the message names.")
_LABELS = Explanation(Stalls.YES, "Label nodes, or correct `spec.placement`. What serves is left alone.")
_JOB_POD = Explanation(
    Stalls.NO,
    "Check the operator's `EDGEMODEL_COMPRESSION_IMAGE`, the pull Secret, and the Secrets that the Job mounts.",
)
_SERVER = Explanation(
    Stalls.AFTER_DEADLINE,
    "The message quotes the end of the server's log; raise its memory, or correct `spec.serving`.",
)

NOT_READY: Mapping[str, Explanation] = {
    COMPRESSING: Explanation(Stalls.NO, "Wait; `status.compression.progress` says how far it is.", expected=True),
    ROLLING_OUT: Explanation(Stalls.NO, "Wait; `status.sites` says where.", expected=True),
    ROLLOUT_STOPPED: Explanation(
        Stalls.YES,
        "More sites failed with the version than `spec.rollout.maxFailedSites` allows: see why in `status.sites`, and "
        "correct the spec or raise the number.",
    ),
    ROLLOUT_PAUSED: Explanation(Stalls.NO, "Set `spec.rollout.paused` to false.", expected=True),
    SUSPENDED: Explanation(Stalls.NO, "Set `spec.suspend` to false.", expected=True),
    SITES_DISCONNECTED: Explanation(
        Stalls.NO,
        "A site that is cut off still serves another version; it is updated when its nodes report again.",
        expected=True,
    ),
    "SourceUnavailable": _SOURCE,
    "SourceNotFound": _SOURCE,
    "SourceUnauthorized": _SOURCE,
    "RegistryUnavailable": _REGISTRY,
    "RegistryUnauthorized": _REGISTRY,
    "ChecksumMismatch": Explanation(Stalls.YES, "The file is not the one that `sha256` names: correct either."),
    "InvalidModel": _MODEL,
    "UnsupportedModel": _MODEL,
    "InvalidDataset": Explanation(
        Stalls.YES, "Names, shapes, types or labels do not fit the model; the message names the array."
    ),
    "SourceTooLarge": Explanation(
        Stalls.YES, "The download is larger than the Job allows, or needs more memory or disk than the Job has."
    ),
    "BaseImageInvalid": Explanation(
        Stalls.YES, "The operator's `EDGEMODEL_INFERENCE_IMAGE` is missing, or has no image for the platform."
    ),
    "ObjectivesNotMet": Explanation(
        Stalls.YES, "Relax the objective that the message names; it also names the candidate that came closest."
    ),
    "InvalidTask": _FIELD,
    INVALID_SPEC: _FIELD,
    JOB_OUT_OF_MEMORY: Explanation(Stalls.YES, "Raise `spec.compression.job.resources.limits.memory`."),
    JOB_DEADLINE_EXCEEDED: Explanation(
        Stalls.YES, "Raise `spec.compression.job.activeDeadlineSeconds`, or give the Job more CPU."
    ),
    JOB_EVICTED: Explanation(Stalls.NO, "The node evicted the Job's pod to free resources; it is retried."),
    JOB_UNSCHEDULABLE: Explanation(Stalls.NO, "No node can run the Job: check its resources and node selector."),
    JOB_IMAGE_PULL_FAILED: _JOB_POD,
    JOB_CANNOT_START: _JOB_POD,
    QUOTA_EXCEEDED: Explanation(
        Stalls.YES,
        "A ResourceQuota of the namespace leaves no room for a pod: raise it, or lower the resources in the spec. "
        "Kubernetes tries again by itself, with growing pauses.",
    ),
    PODS_REJECTED: Explanation(
        Stalls.YES,
        "A LimitRange or an admission policy rejects a pod; the message quotes it. Correct the spec or the policy.",
    ),
    INTERNAL_ERROR: Explanation(Stalls.AFTER_ATTEMPTS, "See the Job's log, and please report it."),
    NO_MATCHING_NODES: _LABELS,
    SITES_MISSING: _LABELS,
    INSUFFICIENT_CAPACITY: Explanation(
        Stalls.AFTER_DEADLINE,
        "A site has no room for a replica: lower `spec.serving.resources`, or add a node there.",
    ),
    IMAGE_PULL_FAILED: Explanation(
        Stalls.AFTER_DEADLINE, "A site cannot pull the image: check its connection to the registry and the pull Secret."
    ),
    SECRET_NOT_FOUND: Explanation(
        Stalls.AFTER_DEADLINE,
        "A server waits for the Secret that the message names: create it, or correct `spec.serving`.",
    ),
    CANNOT_START: _SERVER,
    SERVER_CRASHING: _SERVER,
    SERVER_OUT_OF_MEMORY: _SERVER,
    PROGRESS_DEADLINE_EXCEEDED: Explanation(
        Stalls.YES, "A site's replicas did not become available in time; see the events and the log of its pods."
    ),
    DEPLOYMENT_PAUSED: Explanation(
        Stalls.YES, "Somebody has paused a site's Deployment: `kubectl rollout resume` it; the message names it."
    ),
    CHILD_CONTESTED: Explanation(
        Stalls.YES,
        "Another manager has undone the operator's corrections of a child three times and is left its way: the message "
        "names the fields. Take them out of the other manager's configuration.",
    ),
    NAME_CONFLICT: Explanation(
        Stalls.YES, "Another object has the name of a child: rename the EdgeModel, or remove the object."
    ),
    NODE_PORT_CONFLICT: Explanation(
        Stalls.YES,
        "Another site or another Service has the node port: choose a free one for each site "
        "(`spec.placement.overrides[].serving.expose`), or leave it out and Kubernetes chooses.",
    ),
    REJECTED: Explanation(
        Stalls.YES,
        "The API server rejects a child object, because of a quota or a policy for instance; the message quotes it.",
    ),
}

_EXPECTED_ELSEWHERE = frozenset(
    {NOT_DEPLOYED, STARTING, ROLLED_OUT, NO_TARGET, FIXED, EXTERNAL, NO_METRICS, READY, COMPRESSED}
)
"""Reasons of other conditions that are False in the ordinary course of things."""


def is_warning(status: str, reason: str) -> bool:
    """Whether the event about a condition that took this status and reason is a Warning."""
    if status != "False" or reason in _EXPECTED_ELSEWHERE:
        return False
    return not (reason in NOT_READY and NOT_READY[reason].expected)
