"""What is wanted: ``spec``, with its bounds, defaults, descriptions and CEL rules. What a compression depends on is the
contract's, and extended here.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from edgemodel_contract import spec as contract
from edgemodel_contract.base import Rule, Struct
from edgemodel_contract.fields import Resources, SecretRef, keyed, unique
from edgemodel_contract.serving import ORIGIN
from edgemodel_contract.written import Seconds
from edgemodel_operator.api.exposure import Expose, ExposeOverride
from edgemodel_operator.api.names import EDGE_NODE_LABEL, NODE_SITE_LABEL
from edgemodel_operator.api.pods import EnvVar, PodTemplate, ServerPodTemplate

NodeLabels = Annotated[dict[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=64)]
Uri = Annotated[str, Meta(max_length=2048, pattern=r"^(oci|https?|pvc|hf)://[^\s]+$")]
MAX_SITES = 500
Wave = Annotated[int, Meta(ge=1, le=MAX_SITES)] | Annotated[str, Meta(max_length=4, pattern=r"^(100|[1-9][0-9]?)%$")]
FailureBudget = (
    Annotated[int, Meta(ge=0, le=MAX_SITES)] | Annotated[str, Meta(max_length=4, pattern=r"^(100|[1-9]?[0-9])%$")]
)
Origin = Annotated[str, Meta(max_length=280, pattern=f"^({ORIGIN})$")]
Cidr = Annotated[str, Meta(max_length=43, pattern=r"^[0-9a-fA-F:.]+/[0-9]{1,3}$")]
ReplicaCount = Annotated[int, Meta(ge=1, le=1000)]


class ModelSource(contract.ModelSource, frozen=True, kw_only=True):
    """What to deploy."""

    uri: Uri


class Dataset(contract.Dataset, frozen=True, kw_only=True):
    """Samples for calibration and evaluation; the Job splits them, the parts never overlap."""

    uri: Uri


class CompressionJob(Struct, frozen=True, kw_only=True):
    """The Job that compresses."""

    resources: Resources = Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "2", "memory": "4Gi"})
    node_selector: NodeLabels = field(default_factory=dict)
    """Labels that the Job's node must have. Absent: nodes without the edge label; any node where all that take pods
    have it."""
    active_deadline_seconds: Annotated[int, Meta(ge=1, le=604800)] = 3600
    """The Job is stopped after this time."""
    env: Annotated[tuple[EnvVar, ...], keyed("name", 64)] = ()
    """Further environment variables."""
    pod_template: PodTemplate = PodTemplate()


class Compression(contract.Compression, frozen=True, kw_only=True):
    """How to make the model small."""

    dataset: Dataset | None = None
    job: CompressionJob = CompressionJob()


class Batching(Struct, frozen=True, kw_only=True):
    """Joins concurrent requests into one run of the model."""

    max_batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Items in one run at most; 1: every request runs by itself."""
    max_delay: Seconds = 0.002
    """How long the first request of a run waits for others at most."""


class Tls(Struct, frozen=True, kw_only=True):
    """TLS for the servers' clients."""

    secret_ref: SecretRef
    """Secret with tls.crt and tls.key; with ca.crt, clients must show a certificate of it."""


class Auth(Struct, frozen=True, kw_only=True):
    """Who may call: clients that show a key of a Secret, as a bearer token or an API key."""

    secret_ref: SecretRef
    """Secret with one entry per client, named for it; its value is the client's key."""
    requests_per_minute: Annotated[int, Meta(ge=1, le=60_000_000)] | None = None
    """Requests that each key has in each replica; more are answered with 429. Absent: no limit."""


SERVING_RESOURCES = Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"cpu": "1", "memory": "1Gi"})


class Serving(contract.Serving, frozen=True, kw_only=True):
    """The inference server. Threads follow limits.cpu, rounded up; latency is measured with as many."""

    resources: Resources = SERVING_RESOURCES
    batching: Batching | None = None
    parallelism: Literal["Pod", "Site"] = "Pod"
    """Who runs the parts of a large batch: the pod that got it, or with Site the other replicas of its site, too."""
    tls: Tls | None = None
    """How the servers speak TLS. Absent: plain HTTP."""
    auth: Auth | None = None
    """Clients that may call. Absent: everybody who reaches the servers."""
    allow_from: Annotated[tuple[Cidr, ...], unique(64, min_length=1)] = ()
    """IP blocks that may call, by the NetworkPolicy of the servers. Absent: every address."""
    cors_origins: Annotated[tuple[Origin, ...], unique(64, min_length=1)] = ()
    """Origins of web pages that may call from a browser, like https://app.example; ``*`` is any. Absent: none."""
    env: Annotated[tuple[EnvVar, ...], keyed("name", 64)] = ()
    """Further environment variables."""
    pod_template: ServerPodTemplate = ServerPodTemplate()
    expose: Expose = Expose()


class ScalingTarget(Struct, frozen=True, kw_only=True):
    """The latency that users are promised, as the server sees it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("self.latency.matches('[1-9]')", lambda s: s.latency > 0, "the target latency must be more than zero"),
    )

    latency: Seconds
    """What the percentile of the requests is to stay below."""
    percentile: Annotated[int, Meta(ge=50, le=99)] = 95
    """Share of the requests that the promise is for."""


class ScalingRules(Struct, frozen=True, kw_only=True):
    """As in HorizontalPodAutoscaler v2: the best recommendation of the window counts."""

    stabilization_window_seconds: Annotated[int, Meta(ge=0, le=3600)]
    """Replicas move only where all that was measured over this time asks for it."""


class ScalingBehavior(Struct, frozen=True, kw_only=True):
    """How fast replicas follow latency."""

    scale_up: ScalingRules = ScalingRules(stabilization_window_seconds=0)
    scale_down: ScalingRules = ScalingRules(stabilization_window_seconds=300)


class Scaling(Struct, frozen=True, kw_only=True):
    """Replicas per site."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxReplicas) || self.maxReplicas >= self.minReplicas",
            lambda s: s.max_replicas is None or s.max_replicas >= s.min_replicas,
            "maxReplicas must not be below minReplicas",
        ),
        Rule(
            "self.managedBy != 'External' || (!has(self.maxReplicas) && !has(self.target))",
            lambda s: s.managed_by != "External" or (s.max_replicas is None and s.target is None),
            "managedBy: External leaves the replicas to somebody else; remove maxReplicas and target",
        ),
    )

    managed_by: Literal["Operator", "External"] = "Operator"
    """Who sets each site's replicas. External: a HorizontalPodAutoscaler or KEDA, on the site's Deployment."""
    min_replicas: ReplicaCount = 1
    """Replicas of each site, with and without traffic."""
    max_replicas: ReplicaCount | None = None
    """Absent: as minReplicas."""
    target: ScalingTarget | None = None
    """Absent: minReplicas, always."""
    behavior: ScalingBehavior = ScalingBehavior()
    metrics_source: Literal["Pods"] = "Pods"
    """Where latency is read: from the servers themselves."""


class ServingOverride(Struct, frozen=True, kw_only=True):
    """What one site's servers do differently."""

    resources: Resources | None = None
    """Instead of spec.serving.resources, as a whole."""
    env: Annotated[tuple[EnvVar, ...], keyed("name", 64)] = ()
    """Added to spec.serving.env; a variable of the same name is replaced."""
    expose: ExposeOverride | None = None


class ScalingOverride(Struct, frozen=True, kw_only=True):
    """How one site scales differently."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.maxReplicas >= self.minReplicas",
            lambda s: None in (s.min_replicas, s.max_replicas) or s.max_replicas >= s.min_replicas,
            "the override's maxReplicas must not be below its minReplicas",
        ),
    )

    min_replicas: ReplicaCount | None = None
    """Instead of spec.scaling.minReplicas."""
    max_replicas: ReplicaCount | None = None
    """Instead of spec.scaling.maxReplicas."""
    target: ScalingTarget | None = None
    """Instead of spec.scaling.target, as a whole."""


SiteName = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]


class Override(Struct, frozen=True, kw_only=True):
    """Replaces parts of serving and scaling on one site."""

    site: SiteName
    """The site that this is for."""
    serving: ServingOverride | None = None
    scaling: ScalingOverride | None = None


class Placement(Struct, frozen=True, kw_only=True):
    """Which nodes serve, and how they form sites."""

    node_selector: NodeLabels = field(default_factory=lambda: {EDGE_NODE_LABEL: ""})
    """Labels that a node must have, all of them."""
    site_label: Annotated[str, Meta(min_length=1, max_length=317)] = NODE_SITE_LABEL
    """Node label whose value names the site. Nodes without it form the site ``default``."""
    sites: Annotated[tuple[SiteName, ...], unique(MAX_SITES)] = ()
    """Absent or empty: every site that has a matching node."""
    overrides: Annotated[tuple[Override, ...], keyed("site", MAX_SITES)] = ()
    """What single sites do differently."""


class Rollout(Struct, frozen=True, kw_only=True):
    """How a new version spreads: wave by wave, each a number of sites or a share of them, counted from the first."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.progressDeadline.matches('[1-9]')",
            lambda s: s.progress_deadline > 0,
            "the progress deadline must be more than zero",
        ),
    )

    waves: Annotated[tuple[Wave, ...], Meta(min_length=1, max_length=16)] = (1, "25%", "100%")
    """Sites that have the new version after each wave: a number, or a share of all, rounded up."""
    soak: Seconds = 0.0
    """How long a wave must have been available before the next one starts."""
    max_failed_sites: FailureBudget = 0
    """Sites that may fail before no further site is updated: a number, or a share of all, rounded down."""
    progress_deadline: Seconds = 600.0
    """A site has failed when its servers have made no progress with the new version for so long."""
    paused: bool = False
    """No further site is updated."""


class Spec(contract.CompressionSpec, frozen=True, kw_only=True):
    """What is wanted."""

    model: ModelSource
    compression: Compression = Compression()
    serving: Serving = Serving()
    placement: Placement = Placement()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    suspend: bool = False
    """The operator stops acting on this EdgeModel; what runs keeps running."""
