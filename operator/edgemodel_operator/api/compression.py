"""``spec.compression``: how to make the model small, and what the result must meet."""

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from edgemodel_contract.quality import Fidelity, Metric
from edgemodel_contract.task import (
    CalibrationMethod,
    Mode,
    PruningMethod,
    QuantizationMethod,
    RecoveryMethod,
    Target,
)
from edgemodel_operator.api.base import Rule, Struct
from edgemodel_operator.api.fields import Duration, NodeLabels, Percent, Resources, Sha256, Size, Uri


class Pruning(Struct, frozen=True, kw_only=True):
    """Removes weights (Magnitude: W × M, they become zero) or whole neurons and channels (Structured), and before that
    whole residual branches."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.sparsity > 0.0 || self.depth > 0.0",
            lambda s: s.sparsity > 0 or s.depth > 0,
            "pruning needs sparsity or depth",
        ),
    )

    sparsity: Annotated[float, Meta(ge=0, le=0.99)] = 0.0
    """Share of the weights to remove."""
    depth: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of the residual branches to take out, those that change least on the dataset."""
    method: PruningMethod = "Magnitude"
    """Magnitude sets the smallest weights to zero; Structured takes whole channels out."""
    scope: Literal["Global", "Layer"] = "Global"
    """Global ranks all weights together; Layer prunes each layer to the same share."""


class Quantization(Struct, frozen=True, kw_only=True):
    """Turns weights, and with Static activations too, into integers."""

    method: QuantizationMethod
    """Dynamic finds ranges of activations at run time, Static calibrates them on data, WeightOnly keeps activations
    as floats, Float16 only stores weights in half the bytes."""
    bits: Literal[4, 8] = 8
    """Of one weight; 4 with WeightOnly."""
    calibration: CalibrationMethod = "MinMax"
    """How Static finds the range of an activation."""


class Recovery(Struct, frozen=True, kw_only=True):
    """Short training after pruning."""

    method: RecoveryMethod | UnsetType = UNSET
    """What is learnt from: the answers of the original, unless Labels says those of the dataset."""
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Passes over the training part of the dataset, at most: training stops early when it no longer helps."""
    learning_rate: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    """Peak of the schedule; absent: chosen by the engine."""


class Search(Struct, frozen=True, kw_only=True):
    """What Auto may spend."""

    trials: Annotated[int, Meta(ge=1, le=200)] = 16
    """Models it builds and measures, at most."""
    time: Duration = "20m"
    """After this time it begins no further one."""


class Dataset(Struct, frozen=True, kw_only=True):
    """Samples for calibration and evaluation; the Job splits them, the parts never overlap."""

    uri: Uri
    """Where the data is: oci://registry/repository:tag, https://host/path, or pvc://claim/path; a NumPy .npz file, a
    Parquet file, or images in a folder per class (in a claim, or as an archive)."""
    sha256: Sha256 | UnsetType = UNSET
    """Expected digest of the file. With it, a changed file is refused."""


class Objectives(Struct, frozen=True, kw_only=True):
    """What the compressed model must meet. Nothing that misses one is rolled out."""

    max_size: Size | UnsetType = UNSET
    """Of the model file."""
    max_latency: Duration | UnsetType = UNSET
    """95th percentile of one inference at batch size 1, with as many threads as served."""
    max_accuracy_drop: Percent | UnsetType = UNSET
    """Percentage points lost against the original, on the evaluation part of the dataset."""


class OutputRule(Struct, frozen=True, kw_only=True):
    """How one output of the model is judged."""

    output: Annotated[str, Meta(min_length=1, max_length=256)]
    """Its name in the model file."""
    metric: Fidelity | UnsetType = UNSET
    """What it is compared by with the original's. Absent: told from the graph."""
    max_drop: Percent | UnsetType = UNSET
    """Percentage points that it may lose. Absent: objectives.maxAccuracyDrop."""


class CompressionJob(Struct, frozen=True, kw_only=True):
    """The Job that compresses."""

    resources: Resources = Resources(requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "2", "memory": "4Gi"})
    node_selector: NodeLabels | UnsetType = UNSET
    """Absent: nodes without the edge label; any node where all that take pods have it."""
    active_deadline_seconds: Annotated[int, Meta(ge=1, le=604800)] = 3600
    """The Job is stopped after this time."""


class Compression(Struct, frozen=True, kw_only=True):
    """How to make the model small."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.mode != 'Manual' || has(self.pruning) || has(self.quantization)",
            lambda s: s.mode != "Manual" or s.pruning is not UNSET or s.quantization is not UNSET,
            "mode Manual needs pruning or quantization",
        ),
        Rule(
            "self.mode == 'Manual' || !(has(self.pruning) || has(self.quantization) || has(self.recovery))",
            lambda s: s.mode == "Manual" or {s.pruning, s.quantization, s.recovery} == {UNSET},
            "pruning, quantization and recovery are only read in mode Manual: set mode to Manual or remove them",
        ),
        Rule(
            "!has(self.recovery) || has(self.pruning)",
            lambda s: s.recovery is UNSET or s.pruning is not UNSET,
            "recovery trains what pruning has hurt: add pruning, or remove recovery",
        ),
        Rule(
            "has(self.dataset) || !has(self.recovery)",
            lambda s: s.dataset is not UNSET or s.recovery is UNSET,
            "recovery trains on data: add dataset",
        ),
        Rule(
            "!has(self.quantization) || self.quantization.bits == 8 || self.quantization.method == 'WeightOnly'",
            lambda s: s.quantization is UNSET or s.quantization.bits == 8 or s.quantization.method == "WeightOnly",
            "4 bits are for quantization.method WeightOnly",
        ),
        Rule(
            "has(self.dataset) || !(has(self.quantization) && self.quantization.method == 'Static')",
            lambda s: s.dataset is not UNSET or s.quantization is UNSET or s.quantization.method != "Static",
            "static quantization is calibrated on data: add dataset, or use quantization.method Dynamic",
        ),
        Rule(
            "has(self.dataset) || !(has(self.pruning) && self.pruning.depth > 0.0)",
            lambda s: s.dataset is not UNSET or s.pruning is UNSET or not s.pruning.depth,
            "pruning.depth is measured on data: add dataset",
        ),
        Rule(
            "has(self.dataset) || !has(self.metric)",
            lambda s: s.dataset is not UNSET or s.metric is UNSET,
            "metric is measured on data: add dataset",
        ),
        Rule(
            "has(self.dataset) || !has(self.judge)",
            lambda s: s.dataset is not UNSET or s.judge is UNSET,
            "judge is measured on data: add dataset",
        ),
        Rule(
            "has(self.dataset) || !(has(self.objectives) && has(self.objectives.maxAccuracyDrop))",
            lambda s: s.dataset is not UNSET or s.objectives.max_accuracy_drop is UNSET,
            "objectives.maxAccuracyDrop is measured on data: add dataset",
        ),
    )

    mode: Mode = "Auto"
    """Auto tries what applies and picks by the objectives; Manual does what is named; None packages as is."""
    pruning: Pruning | UnsetType = UNSET
    quantization: Quantization | UnsetType = UNSET
    recovery: Recovery | UnsetType = UNSET
    dataset: Dataset | UnsetType = UNSET
    objectives: Objectives = Objectives()
    search: Search = Search()
    target: Target | UnsetType = UNSET
    """The CPU that will serve: host, like the one that compresses, or a named level. Absent: integers that every CPU
    computes right, at a bit of their range."""
    metric: Metric | UnsetType = UNSET
    """What the output with labels is judged by, or without labels the first. Absent: top1, perplexity or mse, as the
    labels are; without labels, how close answers are to the original's."""
    judge: Annotated[list[OutputRule], Meta(max_length=64)] | UnsetType = UNSET
    """How single outputs are judged. Every output is, and the worst one decides; what each is, is told from the graph
    unless it is said here."""
    job: CompressionJob = CompressionJob()
