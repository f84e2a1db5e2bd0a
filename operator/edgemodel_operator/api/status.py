"""What is: ``status``, as the operator writes it."""

from typing import Annotated, Literal

from msgspec import Meta, field

from edgemodel_contract.base import Struct
from edgemodel_contract.fields import keyed, unique
from edgemodel_contract.quality import Metric
from edgemodel_contract.quantity import DURATION_PATTERN
from edgemodel_operator.api.spec import MAX_SITES

Duration = Annotated[str, Meta(max_length=32, pattern=DURATION_PATTERN)]
"""As in the spec: ``10ms``, ``1.5s``."""
Count = Annotated[int, Meta(ge=0)]
Percentage = Annotated[str, Meta(max_length=16, pattern=r"^-?[0-9]+(\.[0-9]+)?%$")]
Figure = Annotated[str, Meta(max_length=24, pattern=r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?%?$")]
"""A number in a string: with a percent sign for shares, plain for what is none."""
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
    observed_generation: Count
    """The generation of the spec that it is about."""
    last_transition_time: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    """When the status last changed."""


class TimingStatus(Struct, frozen=True, kw_only=True):
    """Time of one inference, batch of one."""

    latency_p50: Duration = field(name="latencyP50")
    """Median of the time."""
    latency_p95: Duration = field(name="latencyP95")
    """95th percentile of the time."""


class TimingsStatus(Struct, frozen=True, kw_only=True):
    """What the compression Job's clock said when the image was first made; a Job that makes it again changes nothing
    here, and so restarts no server."""

    original: TimingStatus
    """Times of the model as it came."""
    chosen: TimingStatus
    """Times of the compressed model."""
    threads: Count
    """Threads that it was measured with."""
    cpu: str | None = None
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
    previous_image: str | None = None
    """The version before, to go back to."""
    timings: TimingsStatus | None = None


class OutputStatus(Struct, frozen=True, kw_only=True):
    """How well one output is answered."""

    output: str
    """Name of the output in the model file."""
    metric: Metric
    """What `accuracy` is."""
    accuracy: Figure
    """Quality, as `metric` says."""
    drop: Percentage | None = None
    """What was lost against the original, in percentage points, or of an error in percent of it."""
    message: str | None = None
    """What changed against the original, for people."""


class MeasurementStatus(Struct, frozen=True, kw_only=True):
    """What was measured on one model by the compression Job."""

    size_bytes: Count
    """Size of the model file."""
    layer_size_bytes: Count | None = None
    """Size of the image layer that carries it."""
    latency_p50: Duration | None = field(name="latencyP50", default=None)
    """Median time of one inference, batch of one."""
    latency_p95: Duration | None = field(name="latencyP95", default=None)
    """95th percentile of the time of one inference, batch of one."""
    threads: Count = 1
    """Threads that the times were measured with."""
    metric: Metric | None = None
    """What `accuracy` is."""
    accuracy: Figure | None = None
    """Quality on samples that the model was not fitted to, as `metric` says."""
    accuracy_low: Figure | None = None
    """Lower bound of the accuracy's 95 % confidence interval."""
    accuracy_high: Figure | None = None
    """Upper bound of the accuracy's 95 % confidence interval."""
    top5: Percentage | None = None
    """Beside Top1: the share of labels among the five best scores."""
    top5_low: Percentage | None = None
    """Lower bound of the 95 % confidence interval of `top5`."""
    top5_high: Percentage | None = None
    """Upper bound of the 95 % confidence interval of `top5`."""
    samples: Count | None = None
    """How many samples the accuracy rests on."""
    confirmed: bool | None = None
    """The accuracy was measured by a process of its own, on samples that no step of the search has read."""
    outputs: Annotated[list[OutputStatus], keyed("output", 256)] | None = None
    """Each output on its own, those that lost most first."""
    sparsity: Percentage | None = None
    """Share of the weights that are zero."""


class CandidateStatus(Struct, frozen=True, kw_only=True):
    """One candidate: how it was made, what was measured, why it was not taken."""

    method: str
    """How it was made, for instance prune-0.5+static-int8."""
    measured: MeasurementStatus
    rejected: str | None = None
    """Why it was not chosen."""


class ProgressStatus(Struct, frozen=True, kw_only=True):
    """How far the compression Job is."""

    step: str
    """What the Job is doing."""
    message: str
    """What the Job is doing, in a sentence for people."""
    percent: Annotated[int, Meta(ge=0, le=100)]
    """Share of the whole work that is done."""
    remaining: Duration | None = None
    """Estimated when it was last written."""


class Summary(Struct, frozen=True, kw_only=True):
    """The main figures as people and printer columns show them; programs read the fields that they are made from."""

    size: str | None = None
    """Size of the model file before → after."""
    latency: str | None = None
    """95th percentile of the time of one inference, before → after."""
    accuracy: str | None = None
    """Quality before → after, as the metric of the measurement says."""
    sites: str
    """Ready sites of all, as in 2/2."""


class CompressionStatus(Struct, frozen=True, kw_only=True):
    """The compression of the present task: its progress while it runs, its figures when it is done."""

    task: str
    """Digest of the task: the same source and recipe are the same task."""
    job: str | None = None
    """Name of the Job that works on it."""
    progress: ProgressStatus | None = None
    original: MeasurementStatus | None = None
    chosen: CandidateStatus | None = None
    others: Annotated[list[CandidateStatus], Meta(max_length=16)] | None = None
    """Candidates that were measured and not chosen."""
    cpu: str | None = None
    """Name of the CPU that the latencies were measured on."""


SiteState = Literal["Pending", "Progressing", "Ready", "Degraded", "Disconnected"]


class SiteStatus(Struct, frozen=True, kw_only=True):
    """One site. ``latency`` and ``requestsPerSecond`` are measured, absent while there is no traffic."""

    name: str
    """Value of the site label of its nodes."""
    state: SiteState
    """How it does."""
    replicas: Count
    """Servers that exist here."""
    ready_replicas: Count
    """Servers that answer."""
    reason: str | None = None
    """Why it is not Ready, in one word."""
    message: str | None = None
    """Why it is not Ready, in a sentence."""
    image: str | None = None
    """The version that its Deployment asks for."""
    revision: str | None = None
    """Digest of the pod template that every replica here runs; absent while that is not so."""
    latency: Duration | None = None
    """The percentile that `spec.scaling.target` names, over the last window."""
    requests_per_second: Figure | None = None
    """Over the last window, all servers together."""
    addresses: Annotated[list[Annotated[str, Meta(max_length=320)]], unique(32)] | None = None
    """URLs of HTTP and gRPC here; of NodePort, on up to 16 nodes. Absent while there are none."""
    contested: str | None = None
    """Somebody else keeps changing the replicas here: they are left alone until `spec.scaling` no longer has this
    digest."""


RolloutState = Literal["Progressing", "Soaking", "Paused", "Stopped", "Complete"]


class RolloutStatus(Struct, frozen=True, kw_only=True):
    """How far the present version has spread. Sites that are cut off wait outside the waves."""

    version: str
    """Image that the sites are to serve."""
    state: RolloutState
    """Stopped: more sites have failed than may, and no further one is updated."""
    wave: Count
    """The wave that the rollout is in, from 1."""
    of: Count
    """Waves in all."""
    updated_sites: Count
    """Sites whose servers are asked for this version, with the present settings."""
    total_sites: Count
    """Sites that are to have it."""
    failed_sites: Annotated[list[str], Meta(max_length=MAX_SITES)] | None = None
    """Sites that made no progress with it within `spec.rollout.progressDeadline`."""
    started_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    """When the first site was asked for it, or for other settings with it."""
    soak_until: Annotated[str, Meta(extra_json_schema={"format": "date-time"})] | None = None
    """When the next wave may start, where all of this one stand."""


class Status(Struct, frozen=True, kw_only=True):
    """What is."""

    observed_generation: Count | None = None
    """The generation of the spec that this status is about."""
    summary: Summary | None = None
    conditions: Annotated[list[Condition], keyed("type", 16)] = field(default_factory=list)
    """Ready, Reconciling and Stalled as kstatus reads them, and four that say more."""
    model: ModelStatus | None = None
    compression: CompressionStatus | None = None
    rollout: RolloutStatus | None = None
    sites: Annotated[list[SiteStatus], keyed("name", MAX_SITES)] = field(default_factory=list)
    """Every site with a matching node."""
    ready_sites: Count | None = None
    """Sites that are Ready."""
    total_sites: Count | None = None
    """Sites with a matching node, and those that still serve without one."""
    replicas: Count | None = None
    """Servers of all sites."""
    ready_replicas: Count | None = None
    """Servers of all sites that answer."""
