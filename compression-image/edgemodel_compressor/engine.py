"""The work itself: measure the original, build candidates, measure them, choose."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnx

from edgemodel_compressor.candidates import ORIGINAL, Method, methods
from edgemodel_compressor.choose import Choice, choose
from edgemodel_compressor.dataset import Dataset, check_label_range
from edgemodel_compressor.errors import NotApplicableError, TaskError
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration import Calibration, calibrate
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.quantization.tidy import tidy
from edgemodel_compressor.graph.weights import sparsity
from edgemodel_compressor.layer import compressed_size
from edgemodel_compressor.measure import (
    Judge,
    Metric,
    Samples,
    arbitrary_feed,
    classes_of,
    cpu_name,
    latency_round,
)
from edgemodel_compressor.model import Model
from edgemodel_compressor.progress import Span
from edgemodel_compressor.runtime import Feed, Session, explain
from edgemodel_compressor.settings import Settings
from edgemodel_compressor.split import Indices, split
from edgemodel_compressor.tensors import require_concrete
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Recipe

ROUNDS = 3
"""Every candidate is timed once per round, so that a noisy minute on the machine falls on all of them alike."""


@dataclass(frozen=True)
class Job:
    """What to compress, by which recipe, and where to work."""

    model: Model
    dataset: Dataset | None
    recipe: Recipe
    threads: int
    folder: Path
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """All that was measured and decided. ``files`` maps each method to its model file."""

    model: Model
    original: Candidate
    tried: tuple[Candidate, ...]
    """Everything but the original."""
    choice: Choice
    files: dict[str, Path]
    notes: tuple[str, ...]
    """What could not be tried, and why: one sentence each."""
    cpu: str

    @property
    def chosen_file(self) -> Path:
        """The model file of the chosen candidate."""
        if self.choice.chosen is None:
            raise LookupError("nothing was chosen")
        return self.files[self.choice.chosen.method]

    def model_digest(self) -> str:
        """``sha256:…`` of the chosen model file."""
        return "sha256:" + hashlib.sha256(self.chosen_file.read_bytes()).hexdigest()


def compress(job: Job, span: Span) -> Outcome:
    """Run the recipe.

    Raises:
        TaskError: the task contradicts itself, the dataset does not fit, or a method named in the recipe cannot
            be applied. That no candidate meets the objectives is not raised: ``Outcome.choice.chosen`` is None.
    """
    wanted = methods(job.recipe, job.dataset is not None)
    model = replace(job.model, inputs=require_concrete(job.model.inputs, job.dataset.shapes if job.dataset else {}))
    job = replace(job, model=model)
    samples, calibration = _split(job)
    total = len(wanted) + 1
    building, sizing, evaluating, timing = span.split(3 * total, total, 4 * total if samples else 0.1, 3 * total)

    feed = next(samples.feeds()) if samples else arbitrary_feed(model.inputs)
    _try_original(model.path, feed, job.threads)
    files = {ORIGINAL: model.path}
    notes = []
    for method, part in zip(wanted, building.split(*[1.0] * len(wanted)) if wanted else [], strict=True):
        part.report("Compressing", f"building {method.name}")
        try:
            path = _build(job, method, calibration, part)
            _try_candidate(path, feed, job.threads)
            files[method.name] = path
        except NotApplicableError as error:
            sentence = f"{method.name} is not possible for this model: {error}"
            if job.recipe.mode == "Manual":
                raise TaskError("UnsupportedModel", f"{sentence}; choose another method, or none.") from error
            notes.append(sentence)
    measured = _measure_files(files, sizing)
    measured = _evaluate(job, files, measured, samples, evaluating)
    measured = _time(job, files, measured, feed, timing)
    candidates = [Candidate(method=name, measured=figures) for name, figures in measured.items()]
    original, compressed = candidates[0], candidates[1:]
    choice = choose(original, compressed, job.recipe.objectives, job.recipe.mode)
    return Outcome(model, original, tuple(compressed), choice, files, tuple(notes), cpu_name())


def _split(job: Job) -> tuple[Samples | None, Indices]:
    if job.dataset is None:
        return None, np.zeros(0, np.int64)
    classes = classes_of(job.model.outputs)
    if classes != 0:
        check_label_range(job.dataset, classes)
    parts = split(len(job.dataset), job.dataset.labels, job.settings.calibration_samples)
    return Samples(job.dataset, parts.evaluation), parts.calibration


def _try_original(path: Path, feed: Feed, threads: int) -> None:
    try:
        Session(path, threads).run(feed)
    except Exception as error:  # ONNX Runtime raises a dozen types, all of them about this model on this input
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
        raise TaskError(
            "InvalidModel", f"ONNX Runtime cannot run the model on its inputs ({shapes}): {explain(error)}."
        ) from error


def _try_candidate(path: Path, feed: Feed, threads: int) -> None:
    try:
        Session(path, threads).run(feed)
    except Exception as error:  # as above, about what the quantization tool wrote
        raise NotApplicableError(f"ONNX Runtime cannot run the result: {explain(error)}") from error


def _build(job: Job, method: Method, calibration_part: Indices, span: Span) -> Path:
    source = job.model.path
    target = job.folder / f"{method.name}.onnx"
    if method.pruning:
        proto = job.model.proto()
        prune(proto, method.pruning)
        tidy(proto)
        target.write_bytes(proto.SerializeToString(deterministic=True))
        source = target
    if method.quantization:
        calibration: Calibration | None = None
        if method.quantization == "Static" and job.dataset is not None:
            feeds = Samples(job.dataset, calibration_part).feeds()
            advance = _counter(span, method.name, len(calibration_part))
            calibration = calibrate(source, feeds, job.folder, advance)
        recipe = QuantizationRecipe(method.quantization)
        quantize(source, target, recipe, calibration, target_cpu(), job.folder)
    return target


def _counter(span: Span, name: str, total: int) -> Callable[[], None]:
    seen = 0

    def advance() -> None:
        nonlocal seen
        seen = min(seen + 1, total)
        span.report("Compressing", f"building {name}: calibration sample {seen} of {total}", 0.8 * seen / total)

    return advance


def _measure_files(files: dict[str, Path], span: Span) -> dict[str, Measurement]:
    measured = {}
    for index, (name, path) in enumerate(files.items()):
        span.report("Measuring", f"measuring the size of {name}", index / len(files))
        measured[name] = Measurement(
            size=path.stat().st_size,
            layer_size=compressed_size(path),
            sparsity=sparsity(onnx.load_model_from_string(path.read_bytes())),
        )
    return measured


def _metric(job: Job, samples: Samples) -> Metric:
    if samples.labels() is not None:
        return "top1"
    return "cosine" if classes_of(job.model.outputs) is None else "agreement"


def _evaluate(
    job: Job, files: dict[str, Path], measured: dict[str, Measurement], samples: Samples | None, span: Span
) -> dict[str, Measurement]:
    if samples is None:
        return measured
    judge = Judge(samples, _metric(job, samples))
    result = {}
    for (name, path), part in zip(files.items(), span.split(*[1.0] * len(files)), strict=True):
        message = f"evaluating {name} on {len(samples)} samples"
        part.report("Evaluating", message)
        accuracy, count = judge.score(path, job.threads, partial(part.report, "Evaluating", message))
        result[name] = msgspec.structs.replace(measured[name], accuracy=accuracy, metric=judge.metric, samples=count)
    return result


def _time(
    job: Job, files: dict[str, Path], measured: dict[str, Measurement], feed: Feed, span: Span
) -> dict[str, Measurement]:
    runs: dict[str, list[float]] = {name: [] for name in files}
    turns = [(name, path) for _ in range(ROUNDS) for name, path in files.items()]
    for index, (name, path) in enumerate(turns):
        span.report("Measuring", f"timing {name} on {job.threads} thread(s)", index / len(turns))
        runs[name] += latency_round(path, job.threads, feed, job.settings.measure_time / ROUNDS)
    span.report("Measuring", "timed every candidate", 1.0)
    return {
        name: msgspec.structs.replace(
            measured[name],
            threads=job.threads,
            latency_p50=round(float(np.median(times)), 9),
            latency_p95=round(float(np.percentile(times, 95)), 9),
        )
        for name, times in runs.items()
    }
