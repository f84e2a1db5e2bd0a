"""The work itself: measure the original, try one method after another, time what is worth it, choose."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.data.split import Split
from edgemodel_compressor.errors import NotApplicableError, OutOfTimeError, TaskError, told
from edgemodel_compressor.evaluate.latency import MIN_RUNS, WARM_UP_RUNS, cpu_name, latency_round
from edgemodel_compressor.evaluate.memory import peak_memory, save_feed
from edgemodel_compressor.evaluate.throughput import Throughput, by_threads, least_seconds
from edgemodel_compressor.graph.weights import share_depthwise, share_in_float, share_multiplied
from edgemodel_compressor.onnxmodel.model import Model
from edgemodel_compressor.onnxmodel.modelfile import model_digest, read_model
from edgemodel_compressor.onnxmodel.runtime import Feed, available_cpus
from edgemodel_compressor.onnxmodel.tensors import check_numbers, require_concrete
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.candidates import check_recipe, named_method
from edgemodel_compressor.search.choose import Choice, choose, quality_faults
from edgemodel_compressor.search.evaluation import Evaluation, Job, Pace, footprint
from edgemodel_compressor.search.proposals import FIRST_SHARE, TRAINING_WORK, Facts, Trial, propose, recovery
from edgemodel_compressor.settings import Settings
from edgemodel_contract.card import ORIGINAL
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Recipe, TensorSpec

ROUNDS = 3
"""Every good candidate is timed once per round, so that a noisy minute on the machine falls on all of them alike."""
TIMING_SHARE, MAX_TIMING = 0.35, 120.0
"""Of the search's time what at most is kept to time and weigh the candidates, and its most in seconds."""
SHORT_ROUND = 0.5
"""Seconds of one round of timing for which time is kept; a round may be longer, if there is more."""
PROCESS = 2.0
"""Seconds that starting a process takes, which weighs a model or confirms one."""
FINISHING = 0.5
"""Share of the time that is kept for timing in which what has been built may still be judged."""
THROUGHPUT_SHARE = 0.08
LATE = 0.05
"""Share of the search's time that measuring throughput may take beyond it."""
UNHURRIED = 180.0
"""Seconds of search that are enough for trainings of the usual length; a search of less has shorter ones."""
QUICKEST = 10
"""Percentile of the runs by which two models are compared."""
FEW_RUNS = 3
"""Of a slow model, a round with little time left has so many runs at least."""
QUICK = 0.1
"""Seconds of one round of timing; with less left for each, only what may be chosen is timed."""
WORTH = 0.1
"""With less than this share of its weights in FP32 a model is compressed already: integers take 8 % off at most."""
PRODUCTS = 0.1
"""Share of the weights from which on those of matrix products count."""
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
    noise: dict[str, float] = field(default_factory=dict)
    """Of each node of the chosen model that was measured: noise over signal of the output, when it is quantized."""
    throughput: tuple[Throughput, ...] = ()
    """By threads, where that was measured too."""

    spare: float | None = None
    """Seconds of the search's time that are left, and what it may be late by; None where there is no limit."""
    pace: Pace = field(default_factory=Pace)

    confirmed: tuple[Measurement, Measurement] | None = None
    """The original and the chosen model, judged once more on samples that the search has not read."""

    @property
    def served(self) -> tuple[Measurement, Candidate]:
        """The original and the chosen candidate, with their quality as it was confirmed."""
        if self.choice.chosen is None:
            raise LookupError("nothing was chosen")
        if self.confirmed is None:
            return self.original.measured, self.choice.chosen
        original, chosen = self.confirmed
        return original, msgspec.structs.replace(self.choice.chosen, measured=chosen)

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
    if job.recipe.mode != "None":
        check_numbers((*job.model.inputs, *job.model.outputs))
    model = replace(job.model, inputs=_concrete(job.model, job.dataset))
    job = replace(job, model=model)
    end = job.clock() + job.recipe.search.timeout if job.recipe.mode == "Auto" else None
    beginning, searching, timing = span.split(1, 10, 3)
    evaluation = Evaluation.set_up(job)
    evaluation.measure_original(beginning)
    try:
        _try_methods(job, evaluation, searching, end)
    except OutOfTimeError:
        evaluation.builder.notes.append(
            f"The search ended after {len(evaluation.trials)} trials, because compression.search.timeout was used up."
        )
    _time(job, evaluation, timing, end)
    original, *compressed = (Candidate(method=name, measured=figures) for name, figures in evaluation.measured.items())
    choice, confirmed = _choose(job, evaluation, original, compressed, timing, end)
    ranking = replace(timing, deadline=end, clock=job.clock)
    return Outcome(
        model=model,
        original=original,
        tried=tuple(compressed),
        choice=choice,
        files=evaluation.files,
        notes=tuple(evaluation.builder.notes),
        cpu=cpu_name(),
        parts=evaluation.parts,
        feed=evaluation.feed,
        noise=told(lambda: _noise_by_node(evaluation, choice, ranking), {}, lambda _: None),
        confirmed=confirmed,
        spare=None if end is None else end + LATE * job.recipe.search.timeout - job.clock(),
        pace=evaluation.pace,
    )


def _concrete(model: Model, dataset: Dataset | None) -> tuple[TensorSpec, ...]:
    """The inputs, with no other open dimension than the batch."""
    if dataset is None:
        # A state of one sample: what is open of it is the batch.
        closed = {
            spec.name: tuple(abs(size) for size in spec.shape) for spec in model.inputs if spec.name in model.states
        }
        return require_concrete(model.inputs, closed)
    return require_concrete(model.inputs, dataset.sample_shapes)


def throughput_seconds(recipe: Recipe, settings: Settings) -> float:
    """How long to measure throughput: less than usual where the search has little time."""
    usual = 2 * settings.measure_time
    return min(usual, THROUGHPUT_SHARE * recipe.search.timeout) if recipe.mode == "Auto" else usual


def measure_throughput(outcome: Outcome, seconds: float, span: Span) -> Outcome:
    """``outcome`` with the throughput of the original and of the chosen or closest model, on up to all CPUs.

    Where the search has used up its time it is left out, and the notes say so.
    """
    least = least_seconds(outcome.pace.loading, outcome.pace.run)
    if outcome.spare is not None and outcome.spare < least:
        note = "Throughput was not measured, because compression.search.timeout was used up."
        return replace(outcome, notes=(*outcome.notes, note))
    shown = outcome.choice.chosen or outcome.choice.closest or outcome.original
    files = outcome.files[ORIGINAL], outcome.files[shown.method]

    def advance(share: float, message: str) -> None:
        span.report("Measuring", message, share)

    measured = by_threads(*files, outcome.feed, available_cpus(), seconds, advance=advance)
    return replace(outcome, throughput=measured)


def _kept(job: Job, evaluation: Evaluation) -> float:
    """Seconds that are kept to time, weigh and confirm what is at hand, and one candidate more."""
    original = evaluation.pace
    each = (
        ROUNDS * (original.loading + min(job.settings.measure_time / ROUNDS, SHORT_ROUND)) + original.loading + PROCESS
    )
    need = (len(evaluation.files) + 1) * each + _confirming(evaluation)
    return min(TIMING_SHARE * job.recipe.search.timeout, MAX_TIMING, need)


def _confirming(evaluation: Evaluation) -> float:
    """Seconds that confirming a choice takes; 0 without samples."""
    if evaluation.evaluator is None:
        return 0.0
    pace, parts = evaluation.pace, evaluation.parts
    unread = len(parts.confirmation) if parts and len(parts.confirmation) else len(evaluation.evaluator.samples)
    return 2 * (pace.loading + min(unread, len(evaluation.evaluator.samples)) * pace.run) + PROCESS


def _try_methods(job: Job, evaluation: Evaluation, span: Span, end: float | None) -> None:
    if job.recipe.mode == "None":
        return
    if job.recipe.mode == "Manual":
        method = named_method(job.recipe)
        try:
            evaluation.attempt(method, span)
        except NotApplicableError as error:
            raise TaskError(
                "UnsupportedModel",
                f"{method.name} is not possible for this model: {error}; choose another method, or none.",
            ) from error
        return
    shown = read_model(job.model.path, weights=False)
    in_float = told(lambda: share_in_float(read_model(evaluation.builder.base, weights=False)), 1.0, lambda _: None)
    if in_float < WORTH:
        evaluation.builder.notes.append(
            f"The model is compressed already: {1 - in_float:.0%} of its weights are integers or half precision, and "
            "the rest is not worth a search; give the model in single precision to have it compressed further."
        )
        return
    budget = job.recipe.search
    prunable = job.dataset is not None and bool(evaluation.builder.analysis.groups)
    multiplied = told(lambda: share_multiplied(shown), 0.0, lambda _: None)
    facts = Facts(
        has_dataset=job.dataset is not None,
        can_train=prunable,
        epoch=evaluation.builder.epoch,
        prunable=prunable,
        multiplies=multiplied > 0.5,
        products=multiplied > PRODUCTS,
        depthwise=told(lambda: share_depthwise(shown) > DEPTHWISE, False, lambda _: None),
        branches=len(evaluation.builder.branches) if prunable and evaluation.builder.thin else 0,
        work=min(TRAINING_WORK, TRAINING_WORK * budget.timeout / UNHURRIED),
        footprint=footprint(evaluation.measured[ORIGINAL]),
        hurried=budget.timeout < UNHURRIED,
    )
    # What is not going to be trained is not looked at by torch, which takes seconds to load.
    affordable = recovery(facts, FIRST_SHARE) is not None
    facts = replace(facts, can_train=affordable and evaluation.builder.can_train)
    if facts.prunable and evaluation.builder.epoch and not affordable:
        evaluation.builder.notes.append(
            "The model is too large to be trained within a search; mode Manual with recovery trains it all the same."
        )
    for part in span.split(*[1.0] * budget.trials):
        following = propose(facts, evaluation.trials)
        if following is None:
            return
        try:
            kept = _kept(job, evaluation)
            in_time = part if end is None else replace(part, deadline=end - kept, clock=job.clock)
            evaluation.attempt(following, in_time, FINISHING * kept)
        except NotApplicableError as error:
            evaluation.builder.notes.append(f"{following.name} is not possible for this model: {error}.")
            evaluation.trials.append(Trial(following, "Impossible"))
    evaluation.builder.notes.append(f"The search ended with its {budget.trials} trials (compression.search.trials).")


def _time(job: Job, evaluation: Evaluation, span: Span, end: float | None) -> None:
    """Latency, throughput and memory of every candidate; more runs of those that may be chosen.

    By ``end``, of ``job.clock``, what is left is not weighed, and rounds are shorter, so that it is kept.
    """
    poor = (
        evaluation.files.keys()
        - {trial.method.name for trial in evaluation.trials if trial.verdict == "Good"}
        - {ORIGINAL}
    )
    if job.recipe.mode == "Manual":
        poor = set()
    confirming = _confirming(evaluation)
    left = None if end is None else end - confirming - job.clock()
    turns, seconds, least = _turns(evaluation, poor, left, job.settings.measure_time / ROUNDS)
    runs: dict[str, list[float]] = {name: [] for name in evaluation.files}
    timing, weighing = span.split(4, 1)
    for index, name in enumerate(turns):
        timing.report("Measuring", f"timing {name} on {job.threads} thread(s)", index / len(turns))
        runs[name] += latency_round(evaluation.files[name], job.threads, evaluation.feed, seconds, least)
    feed = save_feed(evaluation.feed, job.folder / "feed.npz")
    for index, (name, times) in enumerate(runs.items()):
        if not times:
            continue
        weighing.report("Measuring", f"weighing {name}", index / len(runs))
        evaluation.quickest[name] = float(np.percentile(times, QUICKEST))
        late = end is not None and job.clock() + confirming + PROCESS > end
        evaluation.measured[name] = msgspec.structs.replace(
            evaluation.measured[name],
            latency_p50=round(float(np.median(times)), 9),
            latency_p95=round(float(np.percentile(times, 95)), 9),
            throughput=round(len(times) / sum(times), 3),
            peak_memory=None if name in poor or late else peak_memory(evaluation.files[name], job.threads, feed),
        )
    weighing.report("Measuring", "timed every candidate", 1.0)


def _choose(
    job: Job,
    evaluation: Evaluation,
    original: Candidate,
    compressed: Sequence[Candidate],
    span: Span,
    end: float | None,
) -> tuple[Choice, tuple[Measurement, Measurement] | None]:
    """The best candidate whose quality is confirmed, and the figures that confirm it. ``end`` of ``job.clock`` is when
    the time is used up."""
    refused: dict[str, str] = {}
    while True:
        choice = choose(original, compressed, job.recipe.objectives, job.recipe.mode, refused, evaluation.quickest)
        if choice.chosen is None:
            return choice, None
        method = choice.chosen.method
        # Without a choice there is nothing to confirm; and of the original, which has lost nothing, only in time.
        late = method == ORIGINAL and end is not None and job.clock() > end
        confirmed = None if late or job.recipe.mode == "None" else evaluation.confirmed(method, span)
        faults = quality_faults(confirmed[1]) if confirmed else []
        if not faults:
            return choice, confirmed
        unread = confirmed[1].samples if confirmed else 0
        refused[method] = f"not confirmed on {unread} other samples: {', '.join(text for text, _ in faults)}"
        evaluation.builder.notes.append(f"{method} was chosen first, and {refused[method]}.")


def _turns(evaluation: Evaluation, poor: set[str], left: float | None, usual: float) -> tuple[list[str], float, int]:
    """Which candidate is timed when, for how many seconds each time, and how often at least, with so many seconds
    ``left`` in all."""
    every = [name for index in range(ROUNDS) for name in evaluation.files if index == 0 or name not in poor]
    if left is None or left / 2 >= usual * len(every):
        return every, usual, MIN_RUNS
    # Half of the time is for loading, and for weighing.
    seconds = max(left, 0.0) / 2 / len(every)
    hopeful = [name for name in evaluation.files if name not in poor]
    turns = every if seconds >= QUICK else hopeful * ROUNDS
    seconds = min(max(left, 0.0) / 2 / len(turns), usual)
    # Of a slow model even the runs of a short round take long.
    slow = len(turns) * (evaluation.pace.loading + (WARM_UP_RUNS + MIN_RUNS) * evaluation.pace.run) > left
    return turns, seconds, FEW_RUNS if slow else MIN_RUNS


def _noise_by_node(evaluation: Evaluation, choice: Choice, span: Span) -> dict[str, float]:
    """By node of the chosen model; empty where it has no calibrated integers, or no time is left to measure it."""
    if choice.chosen is None:
        return {}
    method = next((trial.method for trial in evaluation.trials if trial.method.name == choice.chosen.method), None)
    if method is None:
        return {}
    try:
        ranking = evaluation.builder.rank(evaluation.builder.float_file(method), method, span)
    except OutOfTimeError:
        return {}
    return {item.node: item.noise for item in ranking if item.measured}
