"""What lies beside the model: its card, and the report of all that was tried, as far as it is the same on every run."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from edgemodel_compressor.engine import Outcome
from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.modelfile import model_files
from edgemodel_contract.card import CARD_FILE, MODEL_FILE, Comparison, ModelCard, Provenance
from edgemodel_contract.encoding import encode
from edgemodel_contract.result import Candidate
from edgemodel_contract.task import Format, Struct, Task

REPORT_FILE = "report.json"
_LIBRARIES = ("numpy", "onnx", "onnxruntime")
_EXPORTERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": (),
    "exported-program": ("onnxscript", "torch"),
    "torchscript": ("torch",),
    "transformers": ("onnxscript", "torch", "transformers"),
}
"""What had a hand in the model before it was ONNX."""


class ReportEntry(Struct, frozen=True):
    """One candidate without its latencies, which differ from run to run."""

    method: str
    size: int
    sparsity: float | None = None
    accuracy: float | None = None
    metric: str | None = None
    samples: int = 0


class Report(Struct, frozen=True):
    """Everything that was tried for one task; ``chosen`` names the model in the image."""

    task: str
    chosen: str
    candidates: tuple[ReportEntry, ...]
    notes: tuple[str, ...] = ()


def make_report(task: Task, outcome: Outcome) -> bytes:
    """Canonical JSON of the Report."""
    candidates = (outcome.original, *outcome.tried)
    report = Report(
        task=task.digest,
        chosen=_chosen(outcome).method,
        candidates=tuple(_entry(candidate) for candidate in candidates),
        notes=outcome.notes,
    )
    return encode(report)


def make_card(task: Task, outcome: Outcome, digests: Mapping[str, str]) -> bytes:
    """Canonical JSON of the ModelCard; ``digests`` maps each other file of the folder to its ``sha256:…``."""
    chosen = _chosen(outcome).measured
    original = outcome.original.measured
    card = ModelCard(
        name=task.name,
        inputs=outcome.model.inputs,
        outputs=outcome.model.outputs,
        files=dict(digests),
        labels=task.serving.labels,
        preprocessing=task.serving.preprocessing,
        provenance=Provenance(
            source_uri=public_uri(task.model.uri),
            source_digest=f"sha256:{outcome.model.sha256}",
            task=task.digest,
            recipe=task.recipe,
            method=_chosen(outcome).method,
            engine=task.engine,
            libraries={name: version(name) for name in (*_LIBRARIES, *_EXPORTERS[outcome.model.source_format])},
        ),
        comparison=Comparison(
            source_size=original.size,
            model_size=chosen.size,
            source_accuracy=original.accuracy,
            model_accuracy=chosen.accuracy,
            metric=chosen.metric,
            samples=chosen.samples,
        ),
    )
    return encode(card)


def model_folder(task: Task, outcome: Outcome) -> dict[str, Path | bytes]:
    """Name → content of all that lies in the image's model folder: model, report, and the card over all of it."""
    report = make_report(task, outcome)
    # A data file keeps its name: the model file refers to it.
    data = {file.name: file for file in model_files(outcome.chosen_file)[1:]}
    digests = {
        MODEL_FILE: outcome.model_digest(),
        REPORT_FILE: "sha256:" + hashlib.sha256(report).hexdigest(),
        **{name: _file_digest(file) for name, file in data.items()},
    }
    return {
        MODEL_FILE: outcome.chosen_file,
        **data,
        REPORT_FILE: report,
        CARD_FILE: make_card(task, outcome, digests),
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def _chosen(outcome: Outcome) -> Candidate:
    if outcome.choice.chosen is None:
        raise LookupError("nothing was chosen")
    return outcome.choice.chosen


def _entry(candidate: Candidate) -> ReportEntry:
    measured = candidate.measured
    return ReportEntry(
        method=candidate.method,
        size=measured.size,
        sparsity=measured.sparsity,
        accuracy=measured.accuracy,
        metric=measured.metric,
        samples=measured.samples,
    )
