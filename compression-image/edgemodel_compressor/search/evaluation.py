"""Where candidates lie side by side: each is built, measured and judged here, the same way as the original."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from edgemodel_compressor.data.dataset import Dataset, labelled_output, require_variety
from edgemodel_compressor.data.split import Split, set_aside, split
from edgemodel_compressor.errors import NotApplicableError, TaskError, is_exhausted, not_applicable, told
from edgemodel_compressor.evaluate.confirm import confirm
from edgemodel_compressor.evaluate.evaluator import Evaluator, Samples, Score
from edgemodel_compressor.evaluate.labels import metric_for
from edgemodel_compressor.evaluate.latency import arbitrary_feed
from edgemodel_compressor.graph.cost import macs, parameters
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.weights import sparsity
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.modelfile import model_files, model_size, read_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session, explain
from edgemodel_compressor.progress import Span, given_up_in_time
from edgemodel_compressor.registry.layer import compressed_size
from edgemodel_compressor.search.candidate_builder import CandidateBuilder
from edgemodel_compressor.search.candidates import Method
from edgemodel_compressor.search.choose import allowed_drop
from edgemodel_compressor.search.proposals import Trial, Verdict
from edgemodel_compressor.settings import Settings
from edgemodel_contract.card import ORIGINAL
from edgemodel_contract.quality import ANSWERS
from edgemodel_contract.result import Measurement, OutputQuality
from edgemodel_contract.task import OutputRule, Recipe, TensorSpec

MIN_TO_TRAIN = 64
"""With fewer samples Auto sets none aside for training: they say more as evaluation."""

CALIBRATION_WORK = 2e11
"""Multiply-accumulates of calibration: a large model is calibrated on fewer samples, but on these at least."""
MIN_CALIBRATION = 32
SAMPLES_SHARE = 0.1
"""Of the search's time what one evaluation may take of it."""
MIN_SAMPLES = 8
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


@dataclass(frozen=True)
class Pace:
    """Seconds that the original takes."""

    loading: float = 0.0
    run: float = 0.0


@dataclass
class Evaluation:
    """The files, figures and verdicts of all candidates so far."""

    job: Job
    builder: CandidateBuilder
    parts: Split | None
    evaluator: Evaluator | None
    feed: Feed
    files: dict[str, Path] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    quickest: dict[str, float] = field(default_factory=dict)
    """Seconds of the quickest runs of each candidate that was timed."""

    @classmethod
    def set_up(cls, job: Job) -> "Evaluation":
        """Split the dataset, and choose what to judge by."""
        parts, calibration, training, evaluator = None, None, None, None
        cpu = target_cpu(job.recipe.target_cpu or "Any")
        feed = arbitrary_feed(job.model.inputs)
        if job.dataset is not None:
            require_variety(job.dataset)
            main = labelled_output(job.dataset, job.model.outputs)
            check_rules(job.recipe.judge, job.model.outputs)
            parts = split(
                len(job.dataset),
                job.dataset.classes,
                _calibration_samples(job, job.dataset),
                recovery=_sets_aside(job),
                held_out=job.dataset.held_out,
            )
            if job.recipe.mode == "Auto":
                parts = set_aside(parts, job.dataset.classes)
            calibration, training = Samples(job.dataset, parts.calibration), Samples(job.dataset, parts.recovery)
            samples = Samples(job.dataset, parts.evaluation)
            metric = metric_for(job.model.outputs[main], job.dataset.labels, job.recipe.metric)
            evaluator = Evaluator(samples, metric, main, job.recipe.judge, widened=not cpu.reduce_range)
            feed = next(samples.feeds())
        builder = CandidateBuilder(job.model, job.folder, cpu, calibration, training)
        if job.recipe.mode != "None" and not target_cpu("Host").computes_as(cpu):
            builder.notes.append(
                f"The model is made for {cpu.name}, whose integer arithmetic this CPU does not have: quality was "
                "measured with slower kernels that compute the same, and latencies are those of this CPU."
            )
        return cls(job, builder, parts, evaluator, feed)

    def measure_original(self, span: Span) -> None:
        """Everything but its latency."""
        path = self.job.model.path
        span.report("Measuring", "running the original once")
        try:
            loading = time.perf_counter()
            session = Session(path, self.job.threads)
            session.run(self.feed)
            began = time.perf_counter()
            session.run(self.feed)
            self.pace = Pace(began - loading, time.perf_counter() - began)
            self._hurry(self.pace.run)
        except Exception as error:  # ONNX Runtime raises a dozen types, all of them about this model on this input
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.feed.items())
            raise TaskError(
                "InvalidModel", f"ONNX Runtime cannot run the model on its inputs ({shapes}): {explain(error)}."
            ) from error
        self.files[ORIGINAL] = path
        self.measured[ORIGINAL] = self.figures(ORIGINAL, path, path, span)
        self.check_original()

    def _hurry(self, seconds: float) -> None:
        """Take fewer samples, where a model that takes so many ``seconds`` would spend the search's time on them."""
        if self.job.recipe.mode != "Auto":
            return
        most = max(int(SAMPLES_SHARE * self.job.recipe.search.timeout / max(seconds, 1e-9)), MIN_SAMPLES)
        if self.evaluator is not None and len(self.evaluator.samples) > most:
            total = len(self.evaluator.samples)
            self.evaluator.samples = self.evaluator.samples.spread(most)
            self.builder.notes.append(
                f"Candidates are judged on {most} of {total} samples, "
                "because compression.search.timeout allows no more."
            )
        if self.builder.calibration is not None and len(self.builder.calibration) > most:
            self.builder.calibration = self.builder.calibration.spread(most)

    def figures(self, name: str, path: Path, floats: Path, span: Span, score: Score | None = None) -> Measurement:
        """Size, cost and quality of the model file at ``path``; its integers, if any, were made of ``floats``.

        ``score`` is what the evaluator has said of it, if it was asked before.
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
        if self.evaluator is None:
            return measured
        message = f"evaluating {name} on {len(self.evaluator.samples)} samples"
        span.report("Evaluating", message)
        score = score or self.evaluator.score(path, self.job.threads, partial(span.report, "Evaluating", message))
        return with_quality(measured, self._limited(score), score)

    def check_original(self) -> None:
        """Refuse a model whose own answers say nothing.

        Raises:
            TaskError: InvalidModel.
        """
        # One session, because each begins with the same seed.
        session = Session(self.job.model.path, self.job.threads)
        first, again = session.run(self.feed), session.run(self.feed)
        if any(_differ(one, other) for one, other in zip(first, again, strict=True)):
            raise TaskError(
                "InvalidModel",
                "The model answers one sample in two ways, so that nothing can be compared with it; export it for "
                "inference, with dropout and other random operators left out.",
            )
        problem = self.evaluator.problem() if self.evaluator else None
        if problem is not None:
            raise TaskError("InvalidModel", problem)

    def confirmed(self, method: str, span: Span) -> tuple[Measurement, Measurement] | None:
        """The original and the model ``method``, judged by another process on samples that the search has not read;
        None without a dataset.
        """
        if self.evaluator is None or self.parts is None or self.job.dataset is None:
            return None
        unread = self.parts.confirmation if len(self.parts.confirmation) else self.parts.evaluation
        # As it will serve; other kernels only where those of this CPU would compute something else.
        cpu = target_cpu(self.job.recipe.target_cpu or "Any")
        evaluator = replace(
            self.evaluator,
            samples=Samples(self.job.dataset, unread).spread(len(self.evaluator.samples)),
            widened=not target_cpu("Host").computes_as(cpu),
        )
        message = f"confirming {method} on {len(evaluator.samples)} samples"
        files = self.files[ORIGINAL], self.files[method]
        alive = partial(span.report, "Evaluating", message, 1.0)
        scores = confirm(evaluator, *files, self.job.threads, self.job.folder, alive)
        fresh = len(self.parts.confirmation) > 0 or self.job.recipe.mode != "Auto"
        pairs = ((ORIGINAL, scores.original), (method, scores.candidate))
        original, candidate = (
            msgspec.structs.replace(
                with_quality(self.measured[name], self._limited(score, searching=False), score), confirmed=fresh
            )
            for name, score in pairs
        )
        return original, candidate

    def _leave_out(self, what: str, reason: str) -> None:
        note = f"{what} could not be counted: {reason}."
        if note not in self.builder.notes:
            self.builder.notes.append(note)

    def holds(self, path: Path, span: Span) -> bool:
        """Whether the model at ``path`` loses no more than is allowed."""
        return self._excess(self._score(path, span)) <= 1.0

    def _score(self, path: Path, span: Span) -> Score | None:
        """What the evaluator says of the model at ``path``; None where nothing can evaluate it."""
        if self.evaluator is None:
            return None
        message = f"evaluating {path.stem} on {len(self.evaluator.samples)} samples"
        return self.evaluator.score(path, self.job.threads, lambda _: span.report("Evaluating", message))

    def _limited(self, score: Score, *, searching: bool = True) -> tuple[OutputQuality, ...]:
        """Each output of ``score`` with what it may lose; with its margin only where a candidate is looked for."""
        recipe = self.job.recipe
        rules = {rule.output: rule.max_drop for rule in recipe.judge}
        limited = []
        for item in score.outputs:
            if not searching or recipe.mode != "Auto" or at_most_one(item, score.samples):
                item = msgspec.structs.replace(item, margin=0.0)
            rule = rules.get(item.output)
            if rule is None and recipe.mode != "Auto" and recipe.objectives.max_accuracy_drop is None:
                limited.append(item)
                continue
            allowed = allowed_drop(recipe.objectives, item.metric, score.samples, rule)
            limited.append(msgspec.structs.replace(item, allowed=allowed))
        return tuple(limited)

    def _excess(self, score: Score | None) -> float:
        """What the worst output has lost, as a multiple of what it may lose; 0 where it is not known."""
        return excess(self._limited(score)) if score is not None else 0.0

    def attempt(self, method: Method, span: Span, finishing: float = 0.0) -> None:
        """Build ``method``, measure it and note the verdict.

        What is built before the deadline of ``span`` may be measured for so many seconds after it.

        Raises:
            NotApplicableError: it is not possible for this model.
        """
        with not_applicable():
            training, building, measuring = span.split(3 if method.recovery else 1, 1, 2)
            if measuring.deadline is not None:
                measuring = replace(measuring, deadline=measuring.deadline + finishing)
            self._attempt(method, training, building, measuring)

    def _attempt(self, method: Method, training: Span, building: Span, measuring: Span) -> None:
        training.report("Compressing", f"building {method.name}")
        if method.pruning and method.quantization and self.job.recipe.mode == "Auto":
            with given_up_in_time(training):
                floats = self.builder.build(method.floats, partial(self.holds, span=training), training)
            score = self._score(floats, building)
            if self._excess(score) > HOPELESS:
                self._measure(method.floats, floats, measuring, score)
                self.trials.append(Trial(method, "Lossy"))
                return
        with given_up_in_time(building):
            path = self.builder.build(method, partial(self.holds, span=building), building)
        measured = self._measure(method, path, measuring)
        self.trials.append(Trial(method, self._verdict(measured), footprint(measured)))

    def _measure(self, method: Method, path: Path, span: Span, score: Score | None = None) -> Measurement:
        """Run and measure the model at ``path``, which is what ``method`` made."""
        try:
            Session(path, self.job.threads).run(self.feed)
        except Exception as error:  # as for the original, about what a tool wrote
            if is_exhausted(error):
                raise
            raise NotApplicableError(f"ONNX Runtime cannot run the result: {explain(error)}") from error
        measured = self.figures(method.name, path, self.builder.float_file(method), span, score)
        self.files[method.name], self.measured[method.name] = path, measured
        return measured

    def _verdict(self, measured: Measurement) -> Verdict:
        if excess(measured.outputs) > 1.0:
            return "Lossy"
        return "Larger" if measured.size > self.measured[ORIGINAL].size else "Good"


def check_rules(rules: Sequence[OutputRule], outputs: Sequence[TensorSpec]) -> None:
    """Each of ``rules`` is about an output of the model, and no two about the same.

    Raises:
        TaskError: InvalidTask.
    """
    names = [spec.name for spec in outputs]
    for index, rule in enumerate(rules):
        if rule.output not in names:
            raise TaskError(
                "InvalidTask",
                f"compression.judge names the output {rule.output!r}, which the model does not have; its outputs are: "
                f"{', '.join(names)}.",
            )
        if rule.output in {other.output for other in rules[:index]}:
            raise TaskError(
                "InvalidTask", f"compression.judge names the output {rule.output!r} twice; remove one of the two."
            )


def footprint(measured: Measurement) -> int:
    """Bytes downloaded plus bytes kept."""
    return measured.size + (measured.layer_size or measured.size)


def at_most_one(item: OutputQuality, samples: int) -> bool:
    """Whether no more than one answer was lost: that is the least, and says nothing of luck."""
    return item.metric in ANSWERS and item.lost * samples <= 1.0 + 1e-6


def excess(outputs: Sequence[OutputQuality]) -> float:
    """What the worst of ``outputs`` has lost, as a multiple of what it may lose."""
    found = [float("inf") if item.broken else _ratio(item.lost + item.margin, item.allowed) for item in outputs]
    return max(found, default=0.0)


def _ratio(lost: float, allowed: float | None) -> float:
    if not math.isfinite(lost):
        return float("inf")
    if allowed is None or lost <= allowed + 1e-9:
        return 0.0 if allowed is None or allowed <= 0 else max(lost, 0.0) / (allowed + 1e-9)
    return lost / allowed if allowed > 0 else float("inf")


def with_quality(measured: Measurement, outputs: tuple[OutputQuality, ...], score: Score) -> Measurement:
    """``measured`` with the quality that ``score`` says."""
    return msgspec.structs.replace(
        measured,
        accuracy=score.value,
        accuracy_low=score.low,
        accuracy_high=score.high,
        metric=score.metric,
        samples=score.samples,
        outputs=outputs,
        top5=score.top5.value if score.top5 else None,
        top5_low=score.top5.low if score.top5 else None,
        top5_high=score.top5.high if score.top5 else None,
    )


def _differ(first: Array, second: Array) -> bool:
    """Whether two answers to one sample differ by more than rounding does."""
    if first.dtype.kind != "f" or first.shape != second.shape:
        return first.dtype.kind != "O" and not np.array_equal(first, second)
    scale = max(float(np.abs(np.nan_to_num(first)).max(initial=0.0)), 1e-12)
    return not np.allclose(first, second, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)


def _calibration_samples(job: Job, dataset: Dataset) -> int:
    """At most so many samples calibrate."""
    each = told(lambda: macs(read_model(job.model.path, weights=False), dataset.sample_shapes), 0, lambda _: None)
    limit = job.recipe.calibration_samples or job.settings.calibration_samples
    return min(limit, max(int(CALIBRATION_WORK / max(each, 1)), MIN_CALIBRATION))


def _sets_aside(job: Job) -> bool:
    """Whether a part of the samples is for training, and judges nothing."""
    # Training makes batches of its own.
    if job.dataset is not None and job.dataset.whole:
        return False
    if job.recipe.mode == "Manual":
        return job.recipe.recovery is not None
    return job.recipe.mode == "Auto" and job.dataset is not None and len(job.dataset) >= 4 * MIN_TO_TRAIN
