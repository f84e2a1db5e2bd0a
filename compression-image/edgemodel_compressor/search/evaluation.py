"""Where candidates lie side by side: each is built, measured and judged here, the same way as the original."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from edgemodel_compressor.data.dataset import Dataset, check_labels
from edgemodel_compressor.data.split import Split, split
from edgemodel_compressor.errors import NotApplicableError, TaskError, is_exhausted, not_applicable, told
from edgemodel_compressor.evaluate.evaluator import Evaluator, Samples, Score, metric_for
from edgemodel_compressor.evaluate.latency import arbitrary_feed
from edgemodel_compressor.graph.cost import macs, parameters
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.weights import sparsity
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.modelfile import model_files, model_size, read_model
from edgemodel_compressor.onnxmodel.runtime import Feed, Session, explain
from edgemodel_compressor.progress import Span
from edgemodel_compressor.registry.layer import compressed_size
from edgemodel_compressor.search.candidate_builder import CandidateBuilder
from edgemodel_compressor.search.candidates import ORIGINAL, Method
from edgemodel_compressor.search.choose import allowed_drop
from edgemodel_compressor.search.proposals import Trial, Verdict
from edgemodel_compressor.settings import Settings
from edgemodel_contract.quality import lost
from edgemodel_contract.result import Measurement
from edgemodel_contract.task import Recipe

LEAST_TO_TRAIN = 64
"""With fewer samples Auto sets none aside for training: they say more as evaluation."""

CALIBRATION_WORK = 2e11
"""Multiply-accumulates of calibration: a large model is calibrated on fewer samples, but on these at least."""
LEAST_CALIBRATION = 32
SAMPLES_SHARE = 0.1
"""Of the search's time what one evaluation may take of it."""
LEAST_SAMPLES = 8
HOPELESS = 2.0
"""Times the loss that is allowed: no integers bring floats back that have lost more."""


@dataclass(frozen=True)
class Job:
    """What to compress, by which recipe, and where to work. ``clock`` is monotonic seconds."""

    model: Model
    dataset: Dataset | None
    recipe: Recipe
    threads: int
    folder: Path
    settings: Settings
    clock: Callable[[], float] = time.monotonic


@dataclass
class Evaluation:
    """The files, figures and verdicts of all candidates so far."""

    job: Job
    shop: CandidateBuilder
    parts: Split | None
    judge: Evaluator | None
    feed: Feed
    files: dict[str, Path] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def set_up(cls, job: Job) -> "Evaluation":
        """Split the dataset, and choose what to judge by."""
        parts, calibration, training, judge = None, None, None, None
        cpu = target_cpu(job.recipe.target or "any")
        feed = arbitrary_feed(job.model.inputs)
        if job.dataset is not None:
            check_labels(job.dataset, job.model.outputs)
            parts = split(
                len(job.dataset),
                job.dataset.classes,
                _calibration_samples(job, job.dataset),
                recovery=_sets_aside(job),
                held_out=job.dataset.held_out,
            )
            calibration, training = Samples(job.dataset, parts.calibration), Samples(job.dataset, parts.recovery)
            samples = Samples(job.dataset, parts.evaluation)
            metric = metric_for(job.model.outputs, job.dataset.labels, job.recipe.metric)
            judge = Evaluator(samples, metric, widened=not cpu.reduce_range)
            feed = next(samples.feeds())
        shop = CandidateBuilder(job.model, job.folder, cpu, calibration, training)
        if job.recipe.mode != "None" and not target_cpu("host").computes_as(cpu):
            shop.notes.append(
                f"The model is made for {cpu.name}, whose integer arithmetic this CPU does not have: quality was "
                "measured with slower kernels that compute the same, and latencies are those of this CPU."
            )
        return cls(job, shop, parts, judge, feed)

    def measure_original(self, span: Span) -> None:
        """Everything but its latency."""
        path = self.job.model.path
        span.report("Measuring", "running the original once")
        try:
            session = Session(path, self.job.threads)
            session.run(self.feed)
            began = time.perf_counter()
            session.run(self.feed)
            self._hurry(time.perf_counter() - began)
        except Exception as error:  # ONNX Runtime raises a dozen types, all of them about this model on this input
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.feed.items())
            raise TaskError(
                "InvalidModel", f"ONNX Runtime cannot run the model on its inputs ({shapes}): {explain(error)}."
            ) from error
        self.files[ORIGINAL] = path
        self.measured[ORIGINAL] = self.figures(ORIGINAL, path, path, span)

    def _hurry(self, seconds: float) -> None:
        """Take fewer samples, where a model that takes so many ``seconds`` would spend the search's time on them."""
        if self.job.recipe.mode != "Auto":
            return
        most = max(int(SAMPLES_SHARE * self.job.recipe.search.time / max(seconds, 1e-9)), LEAST_SAMPLES)
        if self.judge is not None and len(self.judge.samples) > most:
            total = len(self.judge.samples)
            self.judge.samples = self.judge.samples.spread(most)
            self.shop.notes.append(
                f"Candidates are judged on {most} of {total} samples, because compression.search.time allows no more."
            )
        if self.shop.calibration is not None and len(self.shop.calibration) > most:
            self.shop.calibration = self.shop.calibration.spread(most)

    def figures(self, name: str, path: Path, floats: Path, span: Span, score: Score | None = None) -> Measurement:
        """Size, cost and quality of the model file at ``path``; its integers, if any, were made of ``floats``.

        ``score`` is what the judge has said of it, if it was asked before.
        """
        span.report("Measuring", f"measuring the size of {name}")
        proto = read_model(path)
        measured = Measurement(
            size=model_size(path),
            layer_size=sum(compressed_size(file) for file in model_files(path)),
            sparsity=told(partial(sparsity, proto), None, partial(self._leave_out, "Zeros among the weights")),
            threads=self.job.threads,
        )
        # Integers compute the same products; a quantized graph only writes them in other operators.
        proto = proto if floats == path else read_model(floats)
        shapes = {input_name: array.shape for input_name, array in self.feed.items()}
        measured = msgspec.structs.replace(
            measured,
            parameters=parameters(proto),
            macs=told(partial(macs, proto, shapes), None, partial(self._leave_out, "Multiplications of a run")),
        )
        del proto
        if self.judge is None:
            return measured
        message = f"evaluating {name} on {len(self.judge.samples)} samples"
        span.report("Evaluating", message)
        score = score or self.judge.score(path, self.job.threads, partial(span.report, "Evaluating", message))
        return msgspec.structs.replace(
            measured,
            accuracy=score.value,
            accuracy_low=score.low,
            accuracy_high=score.high,
            metric=self.judge.metric,
            samples=score.samples,
            top5=score.top5.value if score.top5 else None,
            top5_low=score.top5.low if score.top5 else None,
            top5_high=score.top5.high if score.top5 else None,
        )

    def _leave_out(self, what: str, reason: str) -> None:
        note = f"{what} could not be counted: {reason}."
        if note not in self.shop.notes:
            self.shop.notes.append(note)

    def holds(self, path: Path, span: Span) -> bool:
        """Whether the model at ``path`` loses no more than is allowed."""
        return self._lost(self._score(path, span)) <= self.allowed

    def _score(self, path: Path, span: Span) -> Score | None:
        """What the judge says of the model at ``path``; None where nothing can judge it."""
        if self.judge is None:
            return None
        message = f"evaluating {path.stem} on {len(self.judge.samples)} samples"
        return self.judge.score(path, self.job.threads, lambda _: span.report("Evaluating", message))

    def _lost(self, score: Score | None) -> float:
        return self.damage_of(score.value if score else None)

    def damage_of(self, accuracy: float | None) -> float:
        """What a candidate of this accuracy has lost against the original; 0 where it is not known."""
        before = self.measured[ORIGINAL]
        if accuracy is None or before.accuracy is None:
            return 0.0
        return lost(before.metric, before.accuracy, accuracy)

    @property
    def allowed(self) -> float:
        """What may be lost."""
        return allowed_drop(self.job.recipe.objectives, self.measured[ORIGINAL])

    def attempt(self, method: Method, span: Span) -> None:
        """Build ``method``, measure it and note the verdict.

        Raises:
            NotApplicableError: it is not possible for this model.
        """
        with not_applicable():
            self._attempt(method, *span.split(3 if method.recovery else 1, 1, 2))

    def _attempt(self, method: Method, training: Span, building: Span, measuring: Span) -> None:
        training.report("Compressing", f"building {method.name}")
        if method.pruning and method.quantization and self.job.recipe.mode == "Auto":
            floats = self.shop.build(method.floats, partial(self.holds, span=training), training)
            score = self._score(floats, measuring)
            if self._lost(score) > HOPELESS * self.allowed:
                self._measure(method.floats, floats, measuring, score)
                self.trials.append(Trial(method, "Lossy"))
                return
        path = self.shop.build(method, partial(self.holds, span=building), building)
        measured = self._measure(method, path, measuring)
        footprint = measured.size + (measured.layer_size or measured.size)
        self.trials.append(Trial(method, self._verdict(measured), footprint))

    def _measure(self, method: Method, path: Path, span: Span, score: Score | None = None) -> Measurement:
        """Run and measure the model at ``path``, which is what ``method`` made."""
        try:
            Session(path, self.job.threads).run(self.feed)
        except Exception as error:  # as for the original, about what a tool wrote
            if is_exhausted(error):
                raise
            raise NotApplicableError(f"ONNX Runtime cannot run the result: {explain(error)}") from error
        measured = self.figures(method.name, path, self.shop.float_file(method), span, score)
        self.files[method.name], self.measured[method.name] = path, measured
        return measured

    def _verdict(self, measured: Measurement) -> Verdict:
        if self.damage_of(measured.accuracy) > self.allowed + 1e-9:
            return "Lossy"
        return "Larger" if measured.size > self.measured[ORIGINAL].size else "Good"


def _calibration_samples(job: Job, dataset: Dataset) -> int:
    """At most so many samples calibrate."""
    each = told(lambda: macs(read_model(job.model.path, weights=False), dataset.sample_shapes), 0, lambda _: None)
    return min(job.settings.calibration_samples, max(int(CALIBRATION_WORK / max(each, 1)), LEAST_CALIBRATION))


def _sets_aside(job: Job) -> bool:
    """Whether a part of the samples is for training, and judges nothing."""
    # Training makes batches of its own.
    if job.dataset is not None and job.dataset.whole:
        return False
    if job.recipe.mode == "Manual":
        return job.recipe.recovery is not None
    return job.recipe.mode == "Auto" and job.dataset is not None and len(job.dataset) >= 4 * LEAST_TO_TRAIN
