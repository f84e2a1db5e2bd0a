"""What is wanted: ``spec``, with its bounds, defaults, descriptions and CEL rules."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edgemodel_contract.serving import ORIGIN
from edgemodel_contract.task import Datatype, Format
from edgemodel_operator.api.base import Rule, Struct
from edgemodel_operator.api.compression import Compression
from edgemodel_operator.api.fields import Duration, Name, NodeLabels, Percent, Resources, SecretRef, Sha256, Uri, keyed
from edgemodel_operator.api.names import EDGE_NODE_LABEL, SITE_LABEL

Wave = Annotated[int, Meta(ge=1)] | Annotated[str, Meta(max_length=4, pattern=r"^(100|[1-9][0-9]?)%$")]
Origin = Annotated[str, Meta(max_length=280, pattern=f"^({ORIGIN})$")]
Cidr = Annotated[str, Meta(max_length=43, pattern=r"^[0-9a-fA-F:.]+/[0-9]{1,3}$")]


class TensorInput(Struct, frozen=True, kw_only=True):
    """Shape and datatype of one input, where the file leaves them open."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    """Of the input, as in the file."""
    shape: Annotated[list[Annotated[int, Meta(ge=-1)]], Meta(max_length=8)]
    """All dimensions; -1 is one that may vary from request to request."""
    datatype: Datatype = "FP32"
    """As the Open Inference Protocol names it."""


class ModelSource(Struct, frozen=True, kw_only=True):
    """What to deploy."""

    uri: Annotated[
        Uri,
        Meta(
            description="Where the model is: oci://registry/repository:tag, https://host/path, or pvc://claim/path; "
            "a file, an archive, or in a claim a folder."
        ),
    ]
    format: Format | UnsetType = UNSET
    """Told from the bytes when absent; when given, another one is refused."""
    sha256: Sha256 | UnsetType = UNSET
    """Expected digest of the file. With it, a changed file is refused; without it, a tag is read once per change."""
    secret_ref: SecretRef | UnsetType = UNSET
    """Credentials for the URI: keys username and password, or token, or .dockerconfigjson."""
    inputs: Annotated[list[TensorInput], keyed("name", 64)] | UnsetType = UNSET
    """Only what the file does not say, such as sizes of dimensions that it leaves open."""


class Batching(Struct, frozen=True, kw_only=True):
    """Joins concurrent requests into one run of the model."""

    max_batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Items in one run at most; 1: every request runs by itself."""
    max_delay: Duration = "2ms"
    """How long the first request of a run waits for others at most."""


class Auth(Struct, frozen=True, kw_only=True):
    """Who may call: clients that show a key of this Secret, as a bearer token or an API key."""

    name: Name
    """Of a Secret in the EdgeModel's namespace: one entry per client, named for it; its value is the client's key."""
    rate_limit: Annotated[float, Meta(gt=0, le=1_000_000)] | UnsetType = UNSET
    """Requests per second that each key has in each replica; more are answered with 429. Absent: no limit."""


class Preprocessing(Struct, frozen=True, kw_only=True):
    """How POST /predict turns an image into the input tensor: (pixel × scale − mean) / std, per channel."""

    scale: Annotated[float, Meta(gt=0)] = 1 / 255
    """Factor for pixels from 0 to 255."""
    mean: Annotated[list[float], Meta(max_length=4)] | UnsetType = UNSET
    """Subtracted, one number per channel; absent: nothing."""
    std: Annotated[list[Annotated[float, Meta(gt=0)]], Meta(max_length=4)] | UnsetType = UNSET
    """Divided by, one number per channel; absent: nothing."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the tensor's dimensions: batch, channels, height, width."""


class EnvVar(Struct, frozen=True, kw_only=True):
    """One environment variable of the server's container."""

    name: Annotated[str, Meta(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Of the variable."""
    value: Annotated[str, Meta(max_length=4096)] = ""
    """Its text."""


SERVING_RESOURCES = Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"cpu": "1", "memory": "1Gi"})


class Serving(Struct, frozen=True, kw_only=True):
    """The inference server. Threads follow limits.cpu, rounded up; latency is measured with as many."""

    resources: Resources = SERVING_RESOURCES
    preprocessing: Preprocessing = Preprocessing()
    labels: Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=10000)] | UnsetType = UNSET
    """Names of the classes, by index."""
    batching: Batching | UnsetType = UNSET
    parallelism: Literal["Pod", "Site"] = "Pod"
    """Who runs the parts of a large batch: the pod that got it, or with Site the other replicas of its site, too."""
    tls: SecretRef | UnsetType = UNSET
    """A Secret with tls.crt and tls.key; with ca.crt, clients must show a certificate of it. Absent: plain HTTP."""
    auth: Auth | UnsetType = UNSET
    """Clients must show a key of a Secret. Absent: everybody who reaches the servers may call."""
    allow_from: Annotated[list[Cidr], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    """IP blocks that may call, by the NetworkPolicy of the servers. Absent: every address."""
    cors_origins: Annotated[list[Origin], Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    """Origins of web pages that may call from a browser, like https://app.example; ``*`` is any. Absent: none."""
    env: Annotated[list[EnvVar], keyed("name", 64)] | UnsetType = UNSET
    """Further environment variables."""


class ScalingTarget(Struct, frozen=True, kw_only=True):
    """The latency that users are promised, as the server sees it."""

    latency: Duration
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
            lambda s: s.max_replicas is UNSET or s.max_replicas >= s.min_replicas,
            "maxReplicas must not be below minReplicas",
        ),
    )

    min_replicas: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Replicas of each site, with and without traffic."""
    max_replicas: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    """Absent: as minReplicas."""
    target: ScalingTarget | UnsetType = UNSET
    """Absent: minReplicas, always."""
    behavior: ScalingBehavior = ScalingBehavior()
    metrics: Literal["Pods", "Prometheus"] = "Pods"
    """Where latency is read: from the servers themselves, or from Prometheus."""


class ServingOverride(Struct, frozen=True, kw_only=True):
    """What one site's servers do differently."""

    resources: Resources | UnsetType = UNSET
    """Instead of spec.serving.resources, as a whole."""
    env: Annotated[list[EnvVar], keyed("name", 64)] | UnsetType = UNSET
    """Added to spec.serving.env; a variable of the same name is replaced."""


class ScalingOverride(Struct, frozen=True, kw_only=True):
    """How one site scales differently."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.maxReplicas >= self.minReplicas",
            lambda s: UNSET in (s.min_replicas, s.max_replicas) or s.max_replicas >= s.min_replicas,
            "the override's maxReplicas must not be below its minReplicas",
        ),
    )

    min_replicas: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    """Instead of spec.scaling.minReplicas."""
    max_replicas: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    """Instead of spec.scaling.maxReplicas."""
    target: ScalingTarget | UnsetType = UNSET
    """Instead of spec.scaling.target, as a whole."""


SiteName = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]


class Override(Struct, frozen=True, kw_only=True):
    """Replaces parts of serving and scaling on one site."""

    site: SiteName
    """The site that this is for."""
    serving: ServingOverride | UnsetType = UNSET
    scaling: ScalingOverride | UnsetType = UNSET


class Placement(Struct, frozen=True, kw_only=True):
    """Which nodes serve, and how they form sites."""

    node_selector: NodeLabels = field(default_factory=lambda: {EDGE_NODE_LABEL: ""})
    """Labels that a node must have, all of them."""
    site_label: Annotated[str, Meta(min_length=1, max_length=317)] = SITE_LABEL
    """Node label whose value names the site. Nodes without it form the site ``default``."""
    sites: Annotated[list[SiteName], Meta(max_length=500)] | UnsetType = UNSET
    """Absent or empty: every site that has a matching node."""
    overrides: Annotated[list[Override], keyed("site", 500)] | UnsetType = UNSET
    """What single sites do differently."""


class Gates(Struct, frozen=True, kw_only=True):
    """What a wave must show before the next one starts."""

    latency: Duration | UnsetType = UNSET
    """The 95th percentile of requests is to stay below it."""
    error_rate: Percent | UnsetType = UNSET
    """Share of the requests that may fail."""
    accuracy: Percent | UnsetType = UNSET
    """Measured on labelled requests."""


class Rollout(Struct, frozen=True, kw_only=True):
    """How a new version spreads: wave by wave, each a number of sites or a share of them, counted from the first."""

    waves: Annotated[list[Wave], Meta(min_length=1, max_length=16)] = field(default_factory=lambda: [1, "25%", "100%"])
    """Sites that have the new version after each wave: a number, or a share of all, rounded up."""
    soak: Duration = "0s"
    """How long a wave must have been available before the next one starts."""
    gates: Gates | UnsetType = UNSET
    auto_rollback: bool = False
    """A version that fails a gate is taken back everywhere."""
    paused: bool = False
    """No further site is updated."""


class Spec(Struct, frozen=True, kw_only=True):
    """What is wanted."""

    model: ModelSource
    compression: Compression = Compression()
    serving: Serving = Serving()
    placement: Placement = Placement()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    suspend: bool = False
    """The operator stops acting on this EdgeModel; what runs keeps running."""
