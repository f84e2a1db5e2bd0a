"""What the operator asks of a compression Job. The Job finds it as ``task.json`` in a mounted ConfigMap."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from edgemodel_contract.base import Rule, Struct
from edgemodel_contract.encoding import digest
from edgemodel_contract.fields import TensorName, keyed
from edgemodel_contract.quality import Fidelity, Metric
from edgemodel_contract.written import Bytes, Number, PartialShare, Percent, PositiveNumber, Seconds, Share

TASK_FILE = "task.json"

Mode = Literal["Auto", "Manual", "None"]
Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
]
"""The datatype names of the Open Inference Protocol, version 2, and Triton's for bfloat16."""


class TensorSpec(Struct, frozen=True, kw_only=True):
    """One input or output of a model. ``-1`` in ``shape`` is a dimension that may vary."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


Format = Literal["ONNX", "ExportedProgram", "TorchScript", "Transformers"]
"""``ExportedProgram`` is what torch.export.save writes, ``Transformers`` a folder that save_pretrained writes."""


class Source(Struct, frozen=True, kw_only=True):
    """A file or a folder to fetch: ``oci://``, ``https://``, ``http://``, ``pvc://claim/path`` or ``hf://org/name``; a
    local path on the command line.

    ``sha256`` is the expected digest of the file, 64 hex digits, checked before the bytes are read as anything.
    ``secret`` is true where credentials for it are mounted. ``format`` is what a model is expected to be; where it is
    absent, its bytes tell.
    """

    uri: str
    sha256: str | None = None
    secret: bool = False
    format: Format | None = None


PruningMethod = Literal["Magnitude", "Structured"]
PruningScope = Literal["Global", "Layer"]
QuantizationMethod = Literal["Dynamic", "Static", "WeightOnly", "Float16"]
CalibrationMethod = Literal["MinMax", "Entropy", "Percentile"]
RecoveryMethod = Literal["Labels", "Distillation"]
TargetCPU = Literal["Host", "AVX2", "AVX512VNNI", "ARM64"]
"""The CPU that will serve: ``Host`` is like the one that compresses, the others are named levels."""


class Pruning(Struct, frozen=True, kw_only=True):
    """Removes weights (Magnitude: W × M, they become zero) or whole neurons and channels (Structured), and before that
    whole residual branches."""

    # W_pruned = W × M: Han et al., 2015. Structured: Li et al., 2017, weighted by the weights; half of the channels
    # leaves about a quarter of the weights of a matrix, which loses rows and columns. Depth: Men et al., 2024.

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.sparsity.matches('[1-9]') || self.depth.matches('[1-9]')",
            lambda s: s.sparsity > 0 or s.depth > 0,
            "pruning needs sparsity or depth",
        ),
    )

    sparsity: PartialShare = 0.0
    """Share of the weights to remove, below 100%."""
    depth: Share = 0.0
    """Share of the residual branches to take out, those that change least on the dataset."""
    scope: PruningScope = "Global"
    """Global ranks all weights together; Layer prunes each layer to the same share."""
    method: PruningMethod = "Magnitude"
    """Magnitude sets the smallest weights to zero; Structured takes whole channels out."""


class Quantization(Struct, frozen=True, kw_only=True):
    """Turns weights, and with Static activations too, into integers."""

    method: QuantizationMethod
    """Dynamic finds ranges of activations at run time, Static calibrates them on data, WeightOnly keeps activations
    as floats, Float16 only stores weights in half the bytes."""
    bits: Literal[4, 8] = 8
    """Bits of one weight; 4 is for WeightOnly."""
    calibration: CalibrationMethod = "MinMax"
    """How Static finds the range of an activation."""


class Recovery(Struct, frozen=True, kw_only=True):
    """Short training after pruning, on a part of the dataset that nothing is measured on."""

    method: RecoveryMethod | None = None
    """What the training learns from: the original's answers, or with Labels those of the dataset."""
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Passes over the training part of the dataset, at most: training stops early when it no longer helps."""
    learning_rate: Annotated[PositiveNumber, Meta(le=1)] | None = None
    """Peak of the learning rate's schedule, up to 1. Absent: chosen by the engine."""


class Search(Struct, frozen=True, kw_only=True):
    """What Auto may spend."""

    trials: Annotated[int, Meta(ge=1, le=200)] = 16
    """Maximum number of models that are built and measured."""
    timeout: Seconds = 1200.0
    """Time after which no further model is started."""


class Objectives(Struct, frozen=True, kw_only=True):
    """What the compressed model must meet. Nothing that misses one is rolled out."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxSize) || self.maxSize.matches('[1-9]')",
            lambda s: s.max_size is None or s.max_size > 0,
            "maxSize must be more than zero",
        ),
        Rule(
            "!has(self.maxLatency) || self.maxLatency.matches('[1-9]')",
            lambda s: s.max_latency is None or s.max_latency > 0,
            "maxLatency must be more than zero",
        ),
    )

    max_size: Bytes | None = None
    """Largest size of the model file."""
    max_latency: Seconds | None = None
    """Largest 95th percentile of one inference at batch size 1, with as many threads as served."""
    max_accuracy_drop: Percent | None = None
    """Percentage points that may be lost against the original, on the evaluation part of the dataset."""


class OutputRule(Struct, frozen=True, kw_only=True):
    """How one output of the model is evaluated."""

    output: TensorName
    """Name of the output in the model file."""
    metric: Fidelity | None = None
    """Metric of the comparison with the original's output. If absent, it is derived from the graph."""
    max_drop: Percent | None = None
    """Percentage points that it may lose. If absent, objectives.maxAccuracyDrop."""


class Recipe(Struct, frozen=True, kw_only=True):
    """How to make the model small."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.mode != 'Manual' || has(self.pruning) || has(self.quantization)",
            lambda s: s.mode != "Manual" or s.pruning is not None or s.quantization is not None,
            "mode Manual needs pruning or quantization",
        ),
        Rule(
            "self.mode == 'Manual' || !(has(self.pruning) || has(self.quantization) || has(self.recovery))",
            lambda s: s.mode == "Manual" or {s.pruning, s.quantization, s.recovery} == {None},
            "pruning, quantization and recovery are only read in mode Manual: set mode to Manual or remove them",
        ),
        Rule(
            "!has(self.recovery) || has(self.pruning)",
            lambda s: s.recovery is None or s.pruning is not None,
            "recovery trains what pruning has hurt: add pruning, or remove recovery",
        ),
        Rule(
            "!has(self.quantization) || self.quantization.bits == 8 || self.quantization.method == 'WeightOnly'",
            lambda s: s.quantization is None or s.quantization.bits == 8 or s.quantization.method == "WeightOnly",
            "4 bits are for quantization.method WeightOnly",
        ),
    )

    mode: Mode = "Auto"
    """Auto searches and picks by the objectives; Manual does exactly what is named; None packages it as is."""
    pruning: Pruning | None = None
    quantization: Quantization | None = None
    recovery: Recovery | None = None
    search: Search = Search()
    target_cpu: TargetCPU | None = field(name="targetCPU", default=None)
    """The CPU that will serve: a named level, or Host for one like that of the Job. If absent, integers are used that
    every CPU computes correctly, at the cost of one bit of their range."""
    calibration_samples: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """Maximum number of samples that calibrate static quantization; all others are for evaluation. If absent, 256; a
    large model takes fewer."""
    metric: Metric | None = None
    """Metric of the output that has labels, or of the first output if there are no labels. If absent, Top1, Perplexity
    or MSE according to the labels; without labels, how close the answers are to the original's."""
    judge: Annotated[tuple[OutputRule, ...], keyed("output", 64, min_length=1)] = ()
    """How single outputs are evaluated. Every output is, and the worst one decides; an output that is not named here
    gets the metric that its place in the graph suggests."""
    objectives: Objectives = Objectives()


class Preprocessing(Struct, frozen=True, kw_only=True):
    """How POST /predict turns an image into the input tensor: (pixel × scale − mean) / std, per channel."""

    scale: PositiveNumber = 1 / 255
    """Factor for pixels from 0 to 255."""
    mean: Annotated[tuple[Number, ...], Meta(max_length=4)] = ()
    """Subtracted, one number per channel; absent: nothing."""
    std: Annotated[tuple[PositiveNumber, ...], Meta(max_length=4)] = ()
    """Divided by, one number per channel; absent: nothing."""
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    """Order of the tensor's dimensions: batch, channels, height, width."""


class Serving(Struct, frozen=True, kw_only=True):
    """What the model card must say, and the number of threads it will be served with (measured with as many)."""

    threads: int = 1
    class_names: tuple[str, ...] = ()
    preprocessing: Preprocessing = Preprocessing()


class Task(Struct, frozen=True, kw_only=True):
    """One compression job. ``digest`` names it: equal tasks give the same image."""

    name: str
    """Model name in the Open Inference Protocol, and in the card."""
    model: Source
    dataset: Source | None = None
    inputs: tuple[TensorSpec, ...] = ()
    """Only what the file does not say: concrete shapes for dynamic dimensions."""
    fixed: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Inputs that become constants of the model, each at one value for all of its elements, or at one for each."""
    recipe: Recipe = Recipe()
    serving: Serving = Serving()
    base_image: str
    """Inference image the model layer goes on; by digest or tag; may be an index and in another registry."""
    platform: str = "linux/amd64"
    repository: str
    """Where the result is pushed, without tag: ``registry/path``. The tag is the task's digest."""
    engine: str
    """The compression image that runs the task: a new engine is a new task."""

    @property
    def digest(self) -> str:
        """64 hex digits over the canonical JSON of the task."""
        return digest(self)

    @property
    def tag(self) -> str:
        """Image tag: the first 32 hex digits of the digest."""
        return self.digest[:32]


class RegistryAccess(Struct, frozen=True, kw_only=True):
    """How the Job reaches registries. Mounted next to the task, not part of its digest.

    ``endpoints`` maps a registry host as written in image references to the URL to speak to, for registries that
    are known to nodes under another address (mirrors, port forwards). ``insecure`` lists hosts that speak plain HTTP.
    """

    endpoints: dict[str, str] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()


REGISTRY_ACCESS_FILE = "registries.json"
REGISTRY_CREDENTIALS_DIR = "/etc/edgemodel/registry"
"""Mount of a ``kubernetes.io/dockerconfigjson`` Secret: file ``.dockerconfigjson``."""
REGISTRY_CA_DIR = "/etc/edgemodel/ca"
"""Mount of a ConfigMap with the private CA: file ``ca.crt``."""
MODEL_CREDENTIALS_DIR = "/etc/edgemodel/model-credentials"
"""Mount of ``model.secretRef``: keys ``username`` and ``password``, or ``token``, or ``.dockerconfigjson``."""
DATASET_CREDENTIALS_DIR = "/etc/edgemodel/dataset-credentials"
"""Mount of ``compression.dataset.secretRef``, with the same keys."""
CLAIMS_DIR = "/mnt/claims"
"""Claims of ``pvc://claim/path`` are mounted read-only at ``/mnt/claims/<claim>``."""
TASK_DIR = "/etc/edgemodel/task"
"""Mount of the task's ConfigMap."""
WORK_DIR = "/work"
"""Scratch space of the Job, an emptyDir with a size limit."""
TERMINATION_LOG = "/dev/termination-log"
