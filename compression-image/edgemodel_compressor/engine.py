"""The work itself: measure the original, try one method after another, time what is worth it, choose."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from edgemodel_compressor.candidates import ORIGINAL, Method, check_recipe, named_method
from edgemodel_compressor.choose import Choice, allowed_drop, choose
from edgemodel_compressor.dataset import Dataset, check_labels
from edgemodel_compressor.errors import NotApplicableError, TaskError, is_exhausted
from edgemodel_compressor.graph.cost import macs, parameters
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.weights import share_depthwise, share_multiplied, sparsity
from edgemodel_compressor.judge import Judge, Samples, Score, metric_for
from edgemodel_compressor.layer import compressed_size
from edgemodel_compressor.measure import arbitrary_feed, cpu_name, latency_round
from edgemodel_compressor.memory import peak_memory, save_feed
from edgemodel_compressor.model import Model
from edgemodel_compressor.modelfile import model_digest, model_files, model_size, read_model
from edgemodel_compressor.progress import Span
from edgemodel_compressor.runtime import Feed, Session, available_cpus, explain
from edgemodel_compressor.search import FIRST_SHARE, Facts, Trial, Verdict, propose, recovery
from edgemodel_compressor.settings import Settings
from edgemodel_compressor.split import Split, split
from edgemodel_compressor.tensors import require_concrete
from edgemodel_compressor.throughput import Throughput, by_threads
from edgemodel_compressor.workshop import Workshop
from edgemodel_contract.quality import lost
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Recipe

ROUNDS = 3
"""Every good candidate is timed once per round, so that a noisy minute on the machine falls on all of them alike."""
LEAST_TO_TRAIN = 64
"""With fewer samples Auto sets none aside for training: they say more as evaluation."""

CALIBRATION_WORK = 2e11
"""Multiply-accumulates of calibration: a large model is calibrated on fewer samples, but on these at least."""
LEAST_CALIBRATION = 32
HOPELESS = 2.0
"""Times the loss that is allowed: no integers bring floats back that have lost more."""
DEPTHWISE = 0.2
"""Share of the convolutions; MobileNets, EfficientNets and ConvNeXts have a third or more."""


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
class Outcome:
    """All that was measured and decided. ``files`` maps each method to its model file."""

    model: Model
    original: Candidate
    tried: tuple[Candidate, ...]
    """Everything but the original."""
    choice: Choice
    files: dict[str, Path]
    notes: tuple[str, ...]
    """What could not be tried or was left whole, and why: one sentence each."""
    cpu: str
    parts: Split | None = None
    """How the dataset was split."""
    feed: Feed = field(default_factory=dict)
    """What the models were timed on: one sample."""
    damage: dict[str, float] = field(default_factory=dict)
    """Of each node of the chosen model that was measured: noise over signal of the output, when it is quantized."""
    throughput: tuple[Throughput, ...] = ()
    """By threads, where that was measured too."""

    @property
    def chosen_file(self) -> Path:
        """The model file of the chosen candidate."""
        if self.choice.chosen is None:
            raise LookupError("nothing was chosen")
        return self.files[self.choice.chosen.method]

    def model_digest(self) -> str:
        """``sha256:…`` of the chosen model file."""
        return model_digest(self.chosen_file)


def compress(job: Job, span: Span) -> Outcome:
    """Run the recipe.

    Raises:
        TaskError: the task contradicts itself, the dataset does not fit, or a method named in the recipe cannot
            be applied. That no candidate meets the objectives is not raised: ``Outcome.choice.chosen`` is None.
    """
    check_recipe(job.recipe, job.dataset is not None)
    model = replace(job.model, inputs=require_concrete(job.model.inputs, job.dataset.shapes if job.dataset else {}))
    job = replace(job, model=model)
    beginning, searching, timing = span.split(1, 10, 3)
    bench = _Bench.set_up(job)
    bench.measure_original(beginning)
    _try_methods(job, bench, searching)
    _time(job, bench, timing)
    original, *compressed = (Candidate(method=name, measured=figures) for name, figures in bench.measured.items())
    choice = choose(original, compressed, job.recipe.objectives, job.recipe.mode)
    return Outcome(
        model=model,
        original=original,
        tried=tuple(compressed),
        choice=choice,
        files=bench.files,
        notes=tuple(bench.shop.notes),
        cpu=cpu_name(),
        parts=bench.parts,
        feed=bench.feed,
        damage=_damage(bench, choice),
    )


def measure_throughput(outcome: Outcome, seconds: float) -> Outcome:
    """``outcome`` with the throughput of the original and of the chosen or closest model, on up to all CPUs."""
    shown = outcome.choice.chosen or outcome.choice.closest or outcome.original
    files = outcome.files[ORIGINAL], outcome.files[shown.method]
    return replace(outcome, throughput=by_threads(*files, outcome.feed, available_cpus(), seconds))


@dataclass
class _Bench:
    """Where candidates lie side by side: their files, figures and verdicts."""

    job: Job
    shop: Workshop
    parts: Split | None
    judge: Judge | None
    feed: Feed
    files: dict[str, Path] = field(default_factory=dict)
    measured: dict[str, Measurement] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    @classmethod
    def set_up(cls, job: Job) -> "_Bench":
        """Split the dataset, and choose what to judge by."""
        parts, calibration, training, judge = None, None, None, None
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
            judge = Judge(samples, metric_for(job.model.outputs, job.dataset.labels, job.recipe.metric))
            feed = next(samples.feeds())
        shop = Workshop(job.model, job.folder, target_cpu(job.recipe.target or "any"), calibration, training)
        return cls(job, shop, parts, judge, feed)

    def measure_original(self, span: Span) -> None:
        """Everything but its latency."""
        path = self.job.model.path
        try:
            Session(path, self.job.threads).run(self.feed)
        except Exception as error:  # ONNX Runtime raises a dozen types, all of them about this model on this input
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.feed.items())
            raise TaskError(
                "InvalidModel", f"ONNX Runtime cannot run the model on its inputs ({shapes}): {explain(error)}."
            ) from error
        self.files[ORIGINAL] = path
        self.measured[ORIGINAL] = self.figures(ORIGINAL, path, path, span)

    def figures(self, name: str, path: Path, floats: Path, span: Span, score: Score | None = None) -> Measurement:
        """Size, cost and quality of the model file at ``path``; its integers, if any, were made of ``floats``.

        ``score`` is what the judge has said of it, if it was asked before.
        """
        span.report("Measuring", f"measuring the size of {name}")
        proto = read_model(path)
        measured = Measurement(
            size=model_size(path),
            layer_size=sum(compressed_size(file) for file in model_files(path)),
            sparsity=sparsity(proto),
            threads=self.job.threads,
        )
        # Integers compute the same products; a quantized graph only writes them in other operators.
        proto = proto if floats == path else read_model(floats)
        shapes = {input_name: array.shape for input_name, array in self.feed.items()}
        measured = msgspec.structs.replace(measured, parameters=parameters(proto), macs=macs(proto, shapes))
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

    def holds(self, path: Path) -> bool:
        """Whether the model at ``path`` loses no more than is allowed."""
        return self._lost(self._score(path)) <= self.allowed

    def _score(self, path: Path) -> Score | None:
        """What the judge says of the model at ``path``; None where nothing can judge it."""
        return self.judge.score(path, self.job.threads, lambda _: None) if self.judge else None

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
        training, building, measuring = span.split(3 if method.recovery else 1, 1, 2)
        training.report("Compressing", f"building {method.name}")
        if method.pruning and method.quantization and self.job.recipe.mode == "Auto":
            floats = self.shop.build(method.floats, self.holds, training)
            score = self._score(floats)
            if self._lost(score) > HOPELESS * self.allowed:
                self._measure(method.floats, floats, measuring, score)
                self.trials.append(Trial(method, "Lossy"))
                return
        path = self.shop.build(method, self.holds, building)
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
        original = self.measured[ORIGINAL]
        if self.damage_of(measured.accuracy) > self.allowed + 1e-9:
            return "Lossy"
        if measured.size > original.size:
            return "Larger"
        return "Good"


def _calibration_samples(job: Job, dataset: Dataset) -> int:
    """At most so many samples calibrate."""
    shapes = {name: (1, *array.shape[1:]) for name, array in dataset.inputs.items()}
    try:
        each = macs(read_model(job.model.path, weights=False), shapes)
    except ValueError:
        return job.settings.calibration_samples
    return min(job.settings.calibration_samples, max(int(CALIBRATION_WORK / max(each, 1)), LEAST_CALIBRATION))


def _sets_aside(job: Job) -> bool:
    """Whether a part of the samples is for training, and judges nothing."""
    if job.recipe.mode == "Manual":
        return job.recipe.recovery is not None
    return job.recipe.mode == "Auto" and job.dataset is not None and len(job.dataset) >= 4 * LEAST_TO_TRAIN


def _try_methods(job: Job, bench: _Bench, span: Span) -> None:
    if job.recipe.mode == "None":
        return
    if job.recipe.mode == "Manual":
        method = named_method(job.recipe)
        try:
            bench.attempt(method, span)
        except NotApplicableError as error:
            raise TaskError(
                "UnsupportedModel",
                f"{method.name} is not possible for this model: {error}; choose another method, or none.",
            ) from error
        return
    budget, began = job.recipe.search, job.clock()
    prunable = job.dataset is not None and bool(bench.shop.analysis.groups)
    shown = read_model(job.model.path, weights=False)
    facts = Facts(
        has_dataset=job.dataset is not None,
        can_train=prunable,
        epoch=bench.shop.epoch,
        prunable=prunable,
        multiplies=share_multiplied(shown) > 0.5,
        depthwise=share_depthwise(shown) > DEPTHWISE,
    )
    # What is not going to be trained is not looked at by torch, which takes seconds to load.
    affordable = recovery(facts, FIRST_SHARE) is not None
    facts = replace(facts, can_train=affordable and bench.shop.can_train)
    if facts.prunable and bench.shop.epoch and not affordable:
        bench.shop.notes.append(
            "The model is too large to be trained within a search; mode Manual with recovery trains it all the same."
        )
    for part in span.split(*[1.0] * budget.trials):
        following = propose(facts, bench.trials)
        if following is None:
            return
        if job.clock() - began > budget.time:
            bench.shop.notes.append(
                f"The search ended after {len(bench.trials)} trials, because compression.search.time was used up."
            )
            return
        try:
            bench.attempt(following, part)
        except NotApplicableError as error:
            bench.shop.notes.append(f"{following.name} is not possible for this model: {error}.")
            bench.trials.append(Trial(following, "Impossible"))
    bench.shop.notes.append(f"The search ended with its {budget.trials} trials (compression.search.trials).")


def _time(job: Job, bench: _Bench, span: Span) -> None:
    """Latency, throughput and memory of every candidate; more runs of those that may be chosen."""
    poor = bench.files.keys() - {trial.method.name for trial in bench.trials if trial.verdict == "Good"} - {ORIGINAL}
    if job.recipe.mode == "Manual":
        poor = set()
    turns = [name for index in range(ROUNDS) for name in bench.files if index == 0 or name not in poor]
    runs: dict[str, list[float]] = {name: [] for name in bench.files}
    timing, weighing = span.split(4, 1)
    for index, name in enumerate(turns):
        timing.report("Measuring", f"timing {name} on {job.threads} thread(s)", index / len(turns))
        runs[name] += latency_round(bench.files[name], job.threads, bench.feed, job.settings.measure_time / ROUNDS)
    feed = save_feed(bench.feed, job.folder / "feed.npz")
    for index, (name, times) in enumerate(runs.items()):
        weighing.report("Measuring", f"weighing {name}", index / len(runs))
        bench.measured[name] = msgspec.structs.replace(
            bench.measured[name],
            latency_p50=round(float(np.median(times)), 9),
            latency_p95=round(float(np.percentile(times, 95)), 9),
            throughput=round(len(times) / sum(times), 3),
            peak_memory=None if name in poor else peak_memory(bench.files[name], job.threads, feed),
        )
    weighing.report("Measuring", "timed every candidate", 1.0)


def _damage(bench: _Bench, choice: Choice) -> dict[str, float]:
    """By node of the chosen model; empty where it has no calibrated integers."""
    if choice.chosen is None:
        return {}
    method = next((trial.method for trial in bench.trials if trial.method.name == choice.chosen.method), None)
    if method is None:
        return {}
    ranked: Sequence[tuple[str, float]] = [
        (item.node, item.damage) for item in bench.shop.rank(bench.shop.float_file(method), method) if item.measured
    ]
    return dict(ranked)
