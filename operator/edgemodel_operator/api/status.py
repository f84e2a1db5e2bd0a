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
    """What the condition is about: Ready, Reconciling, Stalled, Compressed, Available, Progressing or ScalingActive."""
    status: ConditionStatus
    """Whether it holds."""
    reason: str
    """Why, in one word for programs; docs/reference/reasons.md lists them."""
    message: str
    """Why, in a sentence for people."""
    observed_generation: int
    """The generation of the spec that it is about."""
    last_transition_time: str
    """When the status last changed."""


class TimingStatus(Struct, frozen=True, kw_only=True):
    """Of one inference, batch of one."""

    latency_p50: Duration = field(name="latencyP50")
    """Median."""
    latency_p95: Duration = field(name="latencyP95")
    """95th percentile."""


class TimingsStatus(Struct, frozen=True, kw_only=True):
    """What the compression Job's clock said when the image was first made; a Job that makes it again changes nothing
    here, and so restarts no server."""

    original: TimingStatus
    """Of the model as it came."""
    chosen: TimingStatus
    """Of the compressed model."""
    threads: int
    """Threads that it was measured with."""
    cpu: str | UnsetType = UNSET
    """Name of the CPU that it was measured on."""


class ModelStatus(Struct, frozen=True, kw_only=True):
    """The version that compression made last; the chain from source to image."""

    image: str
    """repository@sha256:…, the same in every Deployment and running container that has it."""
    task: str
    """Digest of the compression task that made it."""
    source_digest: str
    """SHA-256 of the model file as it was fetched."""
    model_digest: str
    """SHA-256 of the model file as it is served."""
    previous_image: str | UnsetType = UNSET
    """The version before, to go back to."""
    timings: TimingsStatus | UnsetType = UNSET


class OutputStatus(Struct, frozen=True, kw_only=True):
    """How well one output is answered."""

    output: str
    """Its name in the model file."""
    metric: str
    """What `accuracy` is."""
    accuracy: str
    """Quality, as `metric` says."""
    change: str | UnsetType = UNSET
    """What changed against the original, in words."""


class MeasurementStatus(Struct, frozen=True, kw_only=True):
    """What was measured on one model by the compression Job."""

    size: int
    """Bytes of the model file."""
    layer_size: int | UnsetType = UNSET
    """Bytes of the image layer that carries it."""
    latency_p50: str | UnsetType = field(name="latencyP50", default=UNSET)
    """Median time of one inference, batch of one."""
    latency_p95: str | UnsetType = field(name="latencyP95", default=UNSET)
    """95th percentile of the time of one inference, batch of one."""
    threads: int = 1
    """Threads that the times were measured with."""
    accuracy: str | UnsetType = UNSET
    """Quality on samples that the model was not fitted to, as `metric` says."""
    interval: str | UnsetType = UNSET
    """95 % confidence interval of the accuracy."""
    metric: str | UnsetType = UNSET
    """What `accuracy` is."""
    top5: str | UnsetType = UNSET
    """Beside top1: the share of labels among the five best scores."""
    top5_interval: str | UnsetType = UNSET
    """95 % confidence interval of `top5`."""
    samples: int | UnsetType = UNSET
    """How many samples the accuracy rests on."""
    confirmed: bool | UnsetType = UNSET
    """The accuracy was measured by a process of its own, on samples that no step of the search has read."""
    outputs: list[OutputStatus] | UnsetType = UNSET
    """Each output on its own, those that lost most first."""
    sparsity: str | UnsetType = UNSET
    """Share of the weights that are zero."""


class CandidateStatus(Struct, frozen=True, kw_only=True):
    """One candidate: how it was made, what was measured, why it was not taken."""

    method: str
    """How it was made, for instance prune-0.5+static-int8."""
    measured: MeasurementStatus
    rejected: str | UnsetType = UNSET
    """Why it was not chosen."""


class ProgressStatus(Struct, frozen=True, kw_only=True):
    """How far the compression Job is."""

    step: str
    """What the Job is doing."""
    message: str
    """The same in a sentence."""
    percent: int
    """Share of the whole work that is done."""
    remaining: str | UnsetType = UNSET
    """Estimated when it was last written."""


class CompressionSummary(Struct, frozen=True, kw_only=True):
    """Before → after, for people and printer columns."""

    size: str
    """Megabytes of the model file."""
    latency: str | UnsetType = UNSET
    """95th percentile of the time of one inference."""
    accuracy: str | UnsetType = UNSET
    """Quality, as the metric of the measurement says."""


class CompressionStatus(Struct, frozen=True, kw_only=True):
    """The compression of the present task: its progress while it runs, its figures when it is done."""

    task: str
    """Digest of the task: the same source and recipe are the same task."""
    job: str | UnsetType = UNSET
    """Name of the Job that works on it."""
    progress: ProgressStatus | UnsetType = UNSET
    summary: CompressionSummary | UnsetType = UNSET
    original: MeasurementStatus | UnsetType = UNSET
    chosen: CandidateStatus | UnsetType = UNSET
    others: list[CandidateStatus] | UnsetType = UNSET
    """Candidates that were measured and not chosen."""
    cpu: str | UnsetType = UNSET
    """Name of the CPU that the latencies were measured on."""


SiteState = Literal["Pending", "Progressing", "Ready", "Degraded", "Disconnected"]


class SiteStatus(Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One site. ``latency`` and ``requestsPerSecond`` are measured, absent while there is no traffic."""

    name: str
    """Value of the site label of its nodes."""
    state: SiteState
    """How it does."""
    replicas: int
    """Servers that exist here."""
    ready_replicas: int
    """Servers that answer."""
    reason: str | UnsetType = UNSET
    """Why it is not Ready, in one word."""
    message: str | UnsetType = UNSET
    """Why it is not Ready, in a sentence."""
    image: str | UnsetType = UNSET
    """The version that its Deployment asks for."""
    revision: str | UnsetType = UNSET
    """Digest of the pod template that every replica here runs; absent while that is not so."""
    latency: str | UnsetType = UNSET
    """The percentile that `spec.scaling.target` names, over the last window."""
    requests_per_second: str | UnsetType = UNSET
    """Over the last window, all servers together."""


class Status(Struct, frozen=True, kw_only=True):
    """What is."""

    observed_generation: int | UnsetType = UNSET
    """The generation of the spec that this status is about."""
    conditions: list[Condition] = field(default_factory=list)
    """Ready, Reconciling and Stalled as kstatus reads them, and four that say more."""
    model: ModelStatus | UnsetType = UNSET
    compression: CompressionStatus | UnsetType = UNSET
    sites: Annotated[list[SiteStatus], Meta(max_length=500)] = field(default_factory=list)
    """Every site with a matching node."""
    sites_ready: str | UnsetType = UNSET
    """Ready sites of all, as in 2/2."""
    replicas: int | UnsetType = UNSET
    """Servers of all sites."""
    ready_replicas: int | UnsetType = UNSET
    """Servers of all sites that answer."""
    selector: str | UnsetType = UNSET
    """Label selector of the servers."""
