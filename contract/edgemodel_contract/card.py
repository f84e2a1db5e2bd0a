"""The model card: what lies beside the model inside the image, and all the server needs to know about it.

Nothing in it varies between two runs of the same task on the same input, so that the image's digest does not either.
Latencies, which do vary, are in the Result.
"""

from edgemodel_contract.base import Struct
from edgemodel_contract.quality import Metric
from edgemodel_contract.task import Preprocessing, Recipe, TensorSpec

MODEL_DIR = "/edgemodel/model"
"""Folder in the image that holds the layer: the card and the model."""
CARD_FILE = "card.json"
MODEL_FILE = "model.onnx"
REPORT_FILE = "report.json"
"""What was tried, for programs; ``REPORT_PAGE`` is the same for people."""
REPORT_PAGE = "report.html"
ORIGINAL = "original"
"""The method of the model as it came."""


class Provenance(Struct, frozen=True, kw_only=True):
    """The chain from source to output: digests, recipe, and the engine that did it."""

    source_uri: str
    source_digest: str
    task: str
    recipe: Recipe
    method: str
    """The candidate's name, for instance ``static-int8``."""
    engine: str
    libraries: dict[str, str]
    """Name to version of the libraries that shaped the model."""


class Comparison(Struct, frozen=True, kw_only=True):
    """What was measured before and after, as far as it is the same on every run."""

    source_size: int
    model_size: int
    source_accuracy: float | None = None
    model_accuracy: float | None = None
    metric: Metric | None = None
    samples: int = 0


class ModelCard(Struct, frozen=True, kw_only=True):
    """Describes one served model. ``files`` maps each file of the folder, but the card, to its ``sha256:…``."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, str]
    labels: tuple[str, ...] = ()
    preprocessing: Preprocessing = Preprocessing()
    provenance: Provenance
    comparison: Comparison
