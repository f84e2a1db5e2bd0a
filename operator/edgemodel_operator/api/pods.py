"""What an EdgeModel says of pods, in Kubernetes' own shapes and names, as far as that cannot undo their security.

There is no security context, no host path, port, network or namespace here, and every volume is read-only.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from edgemodel_contract.base import Rule, Struct
from edgemodel_contract.fields import Name, keyed

LabelKey = Annotated[str, Meta(min_length=1, max_length=317)]
LabelValue = Annotated[str, Meta(max_length=63)]
Labels = Annotated[dict[str, LabelValue], Meta(max_length=64)]
Annotations = Annotated[dict[str, Annotated[str, Meta(max_length=4096)]], Meta(max_length=64)]
DataKey = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]

RESERVED_VARIABLES = (
    "EDGEMODEL_MODEL_DIR",
    "EDGEMODEL_LISTEN",
    "EDGEMODEL_GRPC_LISTEN",
    "EDGEMODEL_ADMIN_LISTEN",
    "EDGEMODEL_TLS_DIR",
    "EDGEMODEL_AUTH_DIR",
    "EDGEMODEL_PEERS",
    "EDGEMODEL_TIMINGS",
)
"""Which model is served, where, and to whom is said by fields of the spec."""
_LOADERS = ("LD_", "PYTHON", "OPENSSL_", "GCONV_", "GLIBC_")
"""Beginnings of variables that have a program load other code than its image's."""
_RESERVED_LABELS = ("edge5g.io/", "app.kubernetes.io/")
"""Services, NetworkPolicies and the operator find pods by these."""
_RESERVED_ANNOTATIONS = (
    "edge5g.io/",
    "container.apparmor.security",
    "seccomp.security",
    "container.seccomp.security",
    "cdi.k8s.io/",
    "io.kubernetes.cri-o",
    "k8s.v1.cni.cncf.io/",
)
"""The operator's own, older ways to weaken what confines a container, and what gives one devices or other networks."""


def _none_begins(map_name: str, field_name: str, beginnings: tuple[str, ...], message: str) -> Rule:
    """No key of a map begins with any of ``beginnings``."""
    tests = " && ".join(f"!k.startsWith('{text}')" for text in beginnings)
    return Rule(
        f"!has(self.{map_name}) || self.{map_name}.all(k, {tests})",
        lambda s: not any(key.startswith(beginnings) for key in getattr(s, field_name)),
        message,
    )


def _exactly_one(*fields: str) -> str:
    return " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields) + " == 1"


class KeyRef(Struct, frozen=True, kw_only=True):
    """One entry of a Secret or ConfigMap in the EdgeModel's namespace."""

    name: Name
    """Name of the Secret or ConfigMap."""
    key: DataKey
    """Name of the entry."""
    optional: bool = False
    """The pod starts without it, too."""


class FieldRef(Struct, frozen=True, kw_only=True):
    """A field of the pod."""

    field_path: Annotated[
        str,
        Meta(
            max_length=340,
            pattern=r"^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']{1,317}'\]"
            r"|spec\.(nodeName|serviceAccountName)|status\.(hostIP|podIP|podIPs))$",
        ),
    ]
    """Which one, for instance spec.nodeName or metadata.labels['team']."""


class EnvSource(Struct, frozen=True, kw_only=True):
    """Where a variable's value comes from when the pod starts."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),
            lambda s: (s.secret_key_ref, s.config_map_key_ref, s.field_ref).count(None) == 2,
            "valueFrom takes exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        ),
    )

    secret_key_ref: KeyRef | None = None
    """An entry of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """An entry of a ConfigMap."""
    field_ref: FieldRef | None = None


class EnvVar(Struct, frozen=True, kw_only=True):
    """One environment variable of the container."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.valueFrom) || size(self.value) == 0",
            lambda s: s.value_from is None or not s.value,
            "a variable has value or valueFrom, not both",
        ),
        Rule(
            " && ".join(f"!self.name.startsWith('{text}')" for text in _LOADERS),
            lambda s: not s.name.startswith(_LOADERS),
            f"variables that begin with {', '.join(_LOADERS)} can have the program load code of others",
        ),
        Rule(
            f"!(self.name in [{', '.join(repr(name) for name in RESERVED_VARIABLES)}])",
            lambda s: s.name not in RESERVED_VARIABLES,
            "this variable is the operator's: which model is served, where, and to whom is said by the spec's fields",
        ),
        Rule(
            "!self.name.startsWith('EDGEMODEL_') || !has(self.valueFrom) || !has(self.valueFrom.secretKeyRef)",
            lambda s: (
                not (
                    s.name.startswith("EDGEMODEL_")
                    and s.value_from is not None
                    and s.value_from.secret_key_ref is not None
                )
            ),
            "a setting of the program is no secret: where it cannot be read, its value is shown in the status",
        ),
    )

    name: Annotated[str, Meta(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable."""
    value: Annotated[str, Meta(max_length=4096)] = ""
    """Value of the variable."""
    value_from: EnvSource | None = None


class Toleration(Struct, frozen=True, kw_only=True):
    """Lets pods onto nodes with a taint; ``key`` is required, for a toleration without one matches every taint."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator != 'Exists' || size(self.value) == 0",
            lambda s: s.operator != "Exists" or not s.value,
            "a toleration whose operator is Exists has no value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            lambda s: s.toleration_seconds is None or s.effect == "NoExecute",
            "tolerationSeconds goes with effect NoExecute",
        ),
    )

    key: LabelKey
    """The taint's key."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal: the taint has this value. Exists: whatever its value."""
    value: LabelValue = ""
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect. Absent: each."""
    toleration_seconds: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    """How long pods stay after such a taint has come. Absent: for good."""


class NodeRequirement(Struct, frozen=True, kw_only=True):
    """What is asked of one label of a node."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.values) && size(self.values) > 0) != (self.operator in ['Exists', 'DoesNotExist'])",
            lambda s: bool(s.values) != (s.operator in ("Exists", "DoesNotExist")),
            "operators Exists and DoesNotExist take no values, the others need them",
        ),
    )

    key: LabelKey
    """The label's key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label's value is compared."""
    values: Annotated[tuple[LabelValue, ...], Meta(max_length=64)] = ()
    """Values to compare with; for Gt and Lt one integer."""


class NodeTerm(Struct, frozen=True, kw_only=True):
    """Requirements that a node meets all at once."""

    match_expressions: Annotated[tuple[NodeRequirement, ...], Meta(min_length=1, max_length=16)]
    """The requirements."""


class NodeTerms(Struct, frozen=True, kw_only=True):
    """Terms of which a node meets at least one."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Meta(min_length=1, max_length=8)]
    """The terms."""


class PreferredNodes(Struct, frozen=True, kw_only=True):
    """Nodes that are better than others."""

    weight: Annotated[int, Meta(ge=1, le=100)]
    """How much better."""
    preference: NodeTerm


class NodeAffinity(Struct, frozen=True, kw_only=True):
    """As in a pod; beside what the operator asks of nodes, never instead of it."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    """Nodes that pods may be on."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredNodes, ...], Meta(max_length=16)
    ] = ()
    """Nodes that pods are rather put on."""


class SpreadConstraint(Struct, frozen=True, kw_only=True):
    """How evenly the servers of one site are spread; they are selected by the operator."""

    topology_key: LabelKey
    """Node label whose values are the domains, for instance kubernetes.io/hostname."""
    max_skew: Annotated[int, Meta(ge=1, le=1000)] = 1
    """By how many servers two domains may differ."""
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = "ScheduleAnyway"
    """What becomes of a server that no node can take without a larger difference."""


class LocalRef(Struct, frozen=True, kw_only=True):
    """An object in the EdgeModel's namespace."""

    name: Name
    """Name of the object."""


class SecretVolume(Struct, frozen=True, kw_only=True):
    """The entries of a Secret as files."""

    secret_name: Name
    """Name of the Secret."""
    optional: bool = False
    """The pod starts without it, too."""


class ConfigMapVolume(Struct, frozen=True, kw_only=True):
    """The entries of a ConfigMap as files."""

    name: Name
    """Name of the ConfigMap."""
    optional: bool = False
    """The pod starts without it, too."""


class ClaimVolume(Struct, frozen=True, kw_only=True):
    """The files of a PersistentVolumeClaim."""

    claim_name: Name
    """Name of the PersistentVolumeClaim."""


class ExtraVolume(Struct, frozen=True, kw_only=True):
    """Files at ``/mnt/extra/<name>``, read-only."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _exactly_one("secret", "configMap", "persistentVolumeClaim"),
            lambda s: (s.secret, s.config_map, s.persistent_volume_claim).count(None) == 2,
            "an extra volume is exactly one of secret, configMap and persistentVolumeClaim",
        ),
    )

    name: Annotated[str, Meta(min_length=1, max_length=57, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name of the volume, and of the folder below /mnt/extra."""
    secret: SecretVolume | None = None
    config_map: ConfigMapVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None


class PodTemplate(Struct, frozen=True, kw_only=True):
    """What pods have beside their container. Nothing here can widen what a pod may do."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        _none_begins(
            "labels",
            "labels",
            _RESERVED_LABELS,
            "labels that begin with edge5g.io/ or app.kubernetes.io/ are the operator's",
        ),
        _none_begins(
            "annotations",
            "annotations",
            _RESERVED_ANNOTATIONS,
            "annotations of the operator, and those that choose an AppArmor or seccomp profile, are not taken",
        ),
    )

    labels: Labels = field(default_factory=dict)
    """Further labels of the pods."""
    annotations: Annotations = field(default_factory=dict)
    """Annotations of the pods."""
    tolerations: Annotated[tuple[Toleration, ...], Meta(max_length=32)] = ()
    """Taints of nodes that the pods may be on, beside those that the operator tolerates."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods. Absent: the cluster's default."""
    node_affinity: NodeAffinity | None = None
    image_pull_secrets: Annotated[tuple[LocalRef, ...], keyed("name", 16)] = ()
    """Secrets to pull images with, beside the operator's."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods. Absent: the node's default runtime."""
    service_account_name: Name | None = None
    """ServiceAccount of the pods, whose token is not mounted. Absent: the namespace's default."""
    extra_volumes: Annotated[tuple[ExtraVolume, ...], keyed("name", 16)] = ()
    """Files to put into the container."""


class ServerPodTemplate(PodTemplate, frozen=True, kw_only=True):
    """What the servers' pods have beside their container. A change is rolled out like a new version, wave by wave."""

    topology_spread_constraints: Annotated[tuple[SpreadConstraint, ...], keyed("topologyKey", 8)] = ()
    """How a site's servers are spread. Absent or empty: over its nodes, where there is room."""
