"""The work itself: measure the original, try one method after another, time what is worth it, choose."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from edgemodel_compressor.data.split import Split
from edgemodel_compressor.errors import NotApplicableError, TaskError, told
from edgemodel_compressor.evaluate.latency import cpu_name, latency_round
from edgemodel_compressor.evaluate.memory import peak_memory, save_feed
from edgemodel_compressor.evaluate.throughput import Throughput, by_threads
from edgemodel_compressor.graph.weights import share_depthwise, share_multiplied
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.modelfile import model_digest, read_model
from edgemodel_compressor.onnxmodel.runtime import Feed, available_cpus
from edgemodel_compressor.onnxmodel.tensors import require_concrete
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.candidates import ORIGINAL, check_recipe, named_method
from edgemodel_compressor.search.choose import Choice, choose
from edgemodel_compressor.search.evaluation import Evaluation, Job
from edgemodel_compressor.search.proposals import FIRST_SHARE, Facts, Trial, propose, recovery
from edgemodel_contract.result import Candidate

ROUNDS = 3
"""Every good candidate is timed once per round, so that a noisy minute on the machine falls on all of them alike."""
DEPTHWISE = 0.2
"""Share of the convolutions; MobileNets, EfficientNets and ConvNeXts have a third or more."""


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
    bench = Evaluation.set_up(job)
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
        damage=told(lambda: _damage(bench, choice), {}, lambda _: None),
    )


def measure_throughput(outcome: Outcome, seconds: float) -> Outcome:
    """``outcome`` with the throughput of the original and of the chosen or closest model, on up to all CPUs."""
    shown = outcome.choice.chosen or outcome.choice.closest or outcome.original
    files = outcome.files[ORIGINAL], outcome.files[shown.method]
    return replace(outcome, throughput=by_threads(*files, outcome.feed, available_cpus(), seconds))


def _try_methods(job: Job, bench: Evaluation, span: Span) -> None:
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
        multiplies=told(lambda: share_multiplied(shown) > 0.5, False, lambda _: None),
        depthwise=told(lambda: share_depthwise(shown) > DEPTHWISE, False, lambda _: None),
        branches=len(bench.shop.branches) if prunable and bench.shop.thin else 0,
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


def _time(job: Job, bench: Evaluation, span: Span) -> None:
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


def _damage(bench: Evaluation, choice: Choice) -> dict[str, float]:
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
