"""What lies beside the model: its card, and the report of all that was tried, for programs and for people."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.libraries import library_versions
from edgemodel_compressor.onnxmodel.modelfile import model_files
from edgemodel_compressor.report.document import make_report
from edgemodel_compressor.report.page import render_page
from edgemodel_compressor.search.engine import Outcome
from edgemodel_contract.card import CARD_FILE, MODEL_FILE, REPORT_FILE, REPORT_PAGE, Comparison, ModelCard, Provenance
from edgemodel_contract.encoding import encode
from edgemodel_contract.task import Task


def make_card(task: Task, outcome: Outcome, digests: Mapping[str, str]) -> bytes:
    """Canonical JSON of the ModelCard; ``digests`` maps each other file of the folder to its ``sha256:…``."""
    original, candidate = outcome.served
    chosen = candidate.measured
    card = ModelCard(
        name=task.name,
        inputs=outcome.model.inputs,
        outputs=outcome.model.outputs,
        files=dict(digests),
        labels=task.serving.class_names,
        preprocessing=task.serving.preprocessing,
        provenance=Provenance(
            source_uri=public_uri(task.model.uri),
            source_digest=f"sha256:{outcome.model.sha256}",
            task=task.digest,
            recipe=task.recipe,
            method=candidate.method,
            engine=task.engine,
            libraries=library_versions(outcome.model.source_format),
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


def reports(task: Task, outcome: Outcome, *, clocked: bool) -> dict[str, bytes]:
    """Name → content of the report, as JSON and as a page; with what a clock measured or without."""
    report = make_report(task, outcome, clocked=clocked)
    return {REPORT_FILE: encode(report), REPORT_PAGE: render_page(report).encode()}


def model_folder(task: Task, outcome: Outcome, *, clocked: bool = False) -> dict[str, Path | bytes]:
    """Name → content of all that lies in the model folder: model, report, and the card over all of it.

    That of an image is not ``clocked``, so that it is the same on every run.
    """
    written = reports(task, outcome, clocked=clocked)
    # A data file keeps its name: the model file refers to it.
    data = {file.name: file for file in model_files(outcome.chosen_file)[1:]}
    digests = {
        MODEL_FILE: outcome.model_digest(),
        **{name: "sha256:" + hashlib.sha256(content).hexdigest() for name, content in written.items()},
        **{name: _file_digest(file) for name, file in data.items()},
    }
    return {
        MODEL_FILE: outcome.chosen_file,
        **data,
        **written,
        CARD_FILE: make_card(task, outcome, digests),
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
