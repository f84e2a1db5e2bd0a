"""The report as data. In an image it holds only what is the same on every run, so that the image's digest does not
vary; the command line's has the clock's figures and the machine's name as well.
"""

import msgspec

from edgemodel_compressor.evaluate.throughput import Throughput
from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.graph.weights import weights_of
from edgemodel_compressor.libraries import library_versions
from edgemodel_compressor.onnxmodel.modelfile import read_model
from edgemodel_compressor.search.engine import Outcome
from edgemodel_compressor.search.pareto import pareto
from edgemodel_contract.base import Struct
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Objectives, Recipe, Task

CLOCKED = ("latency_p50", "latency_p95", "throughput", "peak_memory")
"""Fields of a Measurement that differ from run to run."""


class Entry(Struct, frozen=True):
    """One candidate. ``best`` says that no other is at once as small, fast and good."""

    method: str
    measured: Measurement
    best: bool = False
    rejected: str | None = None


class Layer(Struct, frozen=True):
    """One weight of the chosen model, and how much quantizing its node alone changes the output.

    ``noise`` is noise over signal of the output, from 0; None where it was not measured.
    """

    name: str
    shape: tuple[int, ...]
    sparsity: float
    noise: float | None = None


class Parts(Struct, frozen=True):
    """Samples of each part of the dataset; no sample is in two of them."""

    calibration: int
    recovery: int
    evaluation: int
    confirmation: int = 0


class Confirmed(Struct, frozen=True, kw_only=True):
    """The quality of the original and of the chosen model, as a process of its own measured it after the choice."""

    original: Measurement
    chosen: Measurement


class Report(Struct, frozen=True, kw_only=True):
    """Everything that was tried for one task; ``chosen`` names the model it led to, or ``closest`` the one that came
    nearest to the objectives where none met them.
    """

    name: str
    task: str
    chosen: str | None
    closest: str | None = None
    candidates: tuple[Entry, ...]
    """The original first."""
    source_uri: str
    source_digest: str
    model_digest: str | None
    recipe: Recipe
    objectives: Objectives
    engine: str
    libraries: dict[str, str]
    parts: Parts | None = None
    confirmed: Confirmed | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    cpu: str | None = None
    throughput: tuple[Throughput, ...] = ()
    """Of the original and the chosen or closest model, by threads."""


def make_report(task: Task, outcome: Outcome, *, clocked: bool) -> Report:
    """The report of ``outcome``, with what a clock measured or without."""
    chosen, closest = outcome.choice.chosen, outcome.choice.closest
    everything = (outcome.original, *outcome.tried)
    best = pareto(everything, timed=clocked)
    losers = (*outcome.choice.others, *([closest] if closest else []))
    reasons = {item.method: item.rejected for item in losers} if clocked else {}
    return Report(
        name=task.name,
        task=task.digest,
        chosen=chosen.method if chosen else None,
        closest=closest.method if closest else None,
        candidates=tuple(_entry(item, item.method in best, reasons.get(item.method), clocked) for item in everything),
        source_uri=public_uri(task.model.uri),
        source_digest=f"sha256:{outcome.model.sha256}",
        model_digest=outcome.model_digest() if chosen else None,
        recipe=task.recipe,
        objectives=task.recipe.objectives,
        engine=task.engine,
        libraries=library_versions(outcome.model.source_format),
        parts=_parts(outcome),
        confirmed=_confirmed(outcome),
        layers=_layers(outcome),
        notes=outcome.notes,
        cpu=outcome.cpu if clocked else None,
        throughput=outcome.throughput if clocked else (),
    )


def _parts(outcome: Outcome) -> Parts | None:
    return None if outcome.parts is None else Parts(**outcome.parts.counts)


def _confirmed(outcome: Outcome) -> Confirmed | None:
    if outcome.confirmed is None:
        return None
    clock = dict.fromkeys(CLOCKED)
    original, chosen = (msgspec.structs.replace(measured, **clock) for measured in outcome.confirmed)
    return Confirmed(original=original, chosen=chosen)


def _layers(outcome: Outcome) -> tuple[Layer, ...]:
    if outcome.choice.chosen is None:
        return ()
    return tuple(
        Layer(name=found.node, shape=found.shape, sparsity=found.sparsity, noise=outcome.noise.get(found.node))
        for found in weights_of(read_model(outcome.chosen_file))
    )


def _entry(candidate: Candidate, best: bool, rejected: str | None, clocked: bool) -> Entry:
    measured = candidate.measured
    if not clocked:
        measured = msgspec.structs.replace(measured, **dict.fromkeys(CLOCKED))
    return Entry(method=candidate.method, measured=measured, best=best, rejected=rejected)
