"""What the operator asks of a compression Job. The Job finds it as ``task.json`` in a mounted ConfigMap."""

from typing import Literal

import msgspec

from edgemodel_contract.encoding import digest
from edgemodel_contract.quality import Fidelity, Metric

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
    "BYTES",
]
"""The datatype names of the Open Inference Protocol, version 2."""


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Frozen, keyword-only, camelCase in JSON, defaults left out: an added field keeps old digests."""


class TensorSpec(Struct, frozen=True, kw_only=True):
    """One input or output of a model. ``-1`` in ``shape`` is a dimension that may vary."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


Format = Literal["onnx", "exported-program", "torchscript", "transformers"]
"""``exported-program`` is what torch.export.save writes, ``transformers`` a folder that save_pretrained writes."""


class Source(Struct, frozen=True, kw_only=True):
    """A file or a folder to fetch: ``oci://``, ``https://``, ``http://`` or ``pvc://claim/path``; a local path on the
    command line.

    ``sha256`` is the expected digest of the file, 64 hex digits, checked before the bytes are read as anything.
    ``secret`` is true where credentials for it are mounted. ``format`` is what a model is expected to be; where it is
    absent, its bytes tell.
    """

    uri: str
    sha256: str | None = None
    secret: bool = False
    format: Format | None = None


PruningMethod = Literal["Magnitude", "Structured"]
QuantizationMethod = Literal["Dynamic", "Static", "WeightOnly", "Float16"]
CalibrationMethod = Literal["MinMax", "Entropy", "Percentile"]
RecoveryMethod = Literal["Labels", "Distillation"]
Target = Literal["host", "avx2", "avx512-vnni", "arm64"]
"""The CPU that will serve: ``host`` is like the one that compresses, the others are named levels."""


class Pruning(Struct, frozen=True, kw_only=True):
    """``Magnitude``, W_pruned = W × M (Han et al., 2015): ``sparsity`` of the weights become zero. ``Structured``
    (Li et al., 2017): this share of the channels, heads and neurons, weighted by their weights, is taken out; half of
    them leaves about a quarter of the weights of a matrix, which loses rows and columns.

    Before either, ``depth`` of the residual branches, those that change least, are taken out whole (Men et al., 2024).
    """

    sparsity: float = 0.0
    depth: float = 0.0
    scope: Literal["Global", "Layer"] = "Global"
    method: PruningMethod = "Magnitude"


class Quantization(Struct, frozen=True, kw_only=True):
    """``Dynamic`` needs no data, ``Static`` is calibrated on the dataset (QDQ, per channel); ``WeightOnly`` keeps
    activations as floats, ``Float16`` only stores the weights in half the bytes.
    """

    method: QuantizationMethod
    bits: Literal[4, 8] = 8
    calibration: CalibrationMethod = "MinMax"


class Recovery(Struct, frozen=True, kw_only=True):
    """Short training after pruning, on a part of the dataset that nothing is measured on.

    Without a ``method`` it learns from the original's answers, which say more than a label (Hinton et al., 2015).
    """

    method: RecoveryMethod | None = None
    epochs: int = 10
    learning_rate: float | None = None


class Search(Struct, frozen=True, kw_only=True):
    """What ``Auto`` may spend: models it builds, and seconds after which it begins no further one."""

    trials: int = 16
    time: float = 1200.0


class Objectives(Struct, frozen=True, kw_only=True):
    """What the result must meet, in base units: bytes, seconds (p95), and accuracy lost as a fraction."""

    max_size: int | None = None
    max_latency: float | None = None
    max_accuracy_drop: float | None = None


class OutputRule(Struct, frozen=True, kw_only=True):
    """How one output is judged. Absent: ``metric`` as the graph tells, ``max_drop`` as the objectives say."""

    output: str
    metric: Fidelity | None = None
    max_drop: float | None = None


class Recipe(Struct, frozen=True, kw_only=True):
    """How to compress. ``pruning``, ``quantization`` and ``recovery`` bind in ``Manual``; ``Auto`` chooses by
    ``objectives``. Without a ``target``, the integers are such that every CPU computes them right; without a
    ``metric``, labels and outputs tell what quality is; ``judge`` names it for single outputs.
    """

    mode: Mode = "Auto"
    pruning: Pruning | None = None
    quantization: Quantization | None = None
    recovery: Recovery | None = None
    search: Search = Search()
    target: Target | None = None
    metric: Metric | None = None
    judge: tuple[OutputRule, ...] = ()
    objectives: Objectives = Objectives()


class Preprocessing(Struct, frozen=True, kw_only=True):
    """How ``/predict`` turns an image into the input tensor: (pixel × scale − mean) / std, per channel."""

    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class Serving(Struct, frozen=True, kw_only=True):
    """What the model card must say, and the number of threads it will be served with (measured with as many)."""

    threads: int = 1
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = Preprocessing()


class Task(Struct, frozen=True, kw_only=True):
    """One compression job. ``digest`` names it: equal tasks give the same image."""

    name: str
    """Model name in the Open Inference Protocol, and in the card."""
    model: Source
    dataset: Source | None = None
    inputs: tuple[TensorSpec, ...] = ()
    """Only what the file does not say: concrete shapes for dynamic dimensions."""
    fixed: dict[str, tuple[float, ...]] = {}
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

    endpoints: dict[str, str] = {}
    insecure: tuple[str, ...] = ()


REGISTRY_ACCESS_FILE = "registries.json"
REGISTRY_CREDENTIALS_DIR = "/etc/edgemodel/registry"
"""Mount of a ``kubernetes.io/dockerconfigjson`` Secret: file ``.dockerconfigjson``."""
REGISTRY_CA_DIR = "/etc/edgemodel/ca"
"""Mount of a ConfigMap with the private CA: file ``ca.crt``."""
SOURCE_CREDENTIALS_DIR = "/etc/edgemodel/source"
"""Mount of ``model.secretRef``: keys ``username`` and ``password``, or ``token``, or ``.dockerconfigjson``."""
CLAIMS_DIR = "/mnt/claims"
"""Claims of ``pvc://claim/path`` are mounted read-only at ``/mnt/claims/<claim>``."""
TASK_DIR = "/etc/edgemodel/task"
"""Mount of the task's ConfigMap."""
WORK_DIR = "/work"
"""Scratch space of the Job, an emptyDir with a size limit."""
TERMINATION_LOG = "/dev/termination-log"
