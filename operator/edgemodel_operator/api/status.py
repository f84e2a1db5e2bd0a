"""What is: ``status``, as the operator writes it."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edgemodel_contract.quantity import DURATION_PATTERN
from edgemodel_operator.api.base import Struct

Duration = Annotated[str, Meta(max_length=32, pattern=DURATION_PATTERN)]
ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """As in metav1.Condition."""

    type: str
    status: ConditionStatus
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str


class TimingStatus(Struct, frozen=True, kw_only=True):
    """Of one inference, batch of one."""

    latency_p50: Duration = field(name="latencyP50")
    latency_p95: Duration = field(name="latencyP95")


class TimingsStatus(Struct, frozen=True, kw_only=True):
    """What the compression Job's clock said when the image was first made; a Job that makes it again changes nothing
    here, and so restarts no server."""

    original: TimingStatus
    chosen: TimingStatus
    threads: int
    cpu: str | UnsetType = UNSET


class ModelStatus(Struct, frozen=True, kw_only=True):
    """The version that compression made last; the chain from source to image."""

    image: str
    """repository@sha256:…, the same in every Deployment and running container that has it."""
    task: str
    """Digest of the compression task that made it."""
    source_digest: str
    model_digest: str
    previous_image: str | UnsetType = UNSET
    timings: TimingsStatus | UnsetType = UNSET


class MeasurementStatus(Struct, frozen=True, kw_only=True):
    """What was measured on one model by the compression Job."""

    size: int
    """Bytes of the model file."""
    layer_size: int | UnsetType = UNSET
    """Bytes of the image layer that carries it."""
    latency_p50: str | UnsetType = field(name="latencyP50", default=UNSET)
    latency_p95: str | UnsetType = field(name="latencyP95", default=UNSET)
    threads: int = 1
    accuracy: str | UnsetType = UNSET
    interval: str | UnsetType = UNSET
    """95 % confidence interval of the accuracy."""
    metric: str | UnsetType = UNSET
    top5: str | UnsetType = UNSET
    """Beside top1: the share of labels among the five best scores."""
    top5_interval: str | UnsetType = UNSET
    samples: int | UnsetType = UNSET
    sparsity: str | UnsetType = UNSET


class CandidateStatus(Struct, frozen=True, kw_only=True):
    """One candidate: how it was made, what was measured, why it was not taken."""

    method: str
    measured: MeasurementStatus
    rejected: str | UnsetType = UNSET


class ProgressStatus(Struct, frozen=True, kw_only=True):
    """How far the compression Job is."""

    step: str
    message: str
    percent: int
    remaining: str | UnsetType = UNSET
    """Estimated when it was last written."""


class CompressionSummary(Struct, frozen=True, kw_only=True):
    """Before → after, for people and printer columns."""

    size: str
    latency: str | UnsetType = UNSET
    accuracy: str | UnsetType = UNSET


class CompressionStatus(Struct, frozen=True, kw_only=True):
    """The compression of the present task: its progress while it runs, its figures when it is done."""

    task: str
    job: str | UnsetType = UNSET
    progress: ProgressStatus | UnsetType = UNSET
    summary: CompressionSummary | UnsetType = UNSET
    original: MeasurementStatus | UnsetType = UNSET
    chosen: CandidateStatus | UnsetType = UNSET
    others: list[CandidateStatus] | UnsetType = UNSET
    cpu: str | UnsetType = UNSET


SiteState = Literal["Pending", "Progressing", "Ready", "Degraded", "Disconnected"]


class SiteStatus(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One site. ``latency`` and ``requestsPerSecond`` are measured, absent while there is no traffic."""

    name: str
    state: SiteState
    replicas: int
    ready_replicas: int
    reason: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    image: str | UnsetType = UNSET
    revision: str | UnsetType = UNSET
    """Digest of the pod template that every replica here runs; absent while that is not so."""
    latency: str | UnsetType = UNSET
    requests_per_second: str | UnsetType = UNSET


class Status(Struct, frozen=True, kw_only=True):
    """What is."""

    observed_generation: int | UnsetType = UNSET
    conditions: list[Condition] = field(default_factory=list)
    model: ModelStatus | UnsetType = UNSET
    compression: CompressionStatus | UnsetType = UNSET
    sites: Annotated[list[SiteStatus], Meta(max_length=500)] = field(default_factory=list)
    sites_ready: str | UnsetType = UNSET
    """Ready sites of all, as in 2/2."""
    replicas: int | UnsetType = UNSET
    ready_replicas: int | UnsetType = UNSET
    selector: str | UnsetType = UNSET
