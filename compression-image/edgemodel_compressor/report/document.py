"""The report as data. In an image it holds only what is the same on every run, so that the image's digest does not vary;
the command line's has the clock's figures and the machine's name as well.
"""

import msgspec

from edgemodel_compressor.engine import Outcome
from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.libraries import library_versions
from edgemodel_compressor.pareto import pareto
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Objectives, Recipe, Struct, Task

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

    ``damage`` is noise to signal, from 0; None where it was not measured.
    """

    name: str
    shape: tuple[int, ...]
    sparsity: float
    damage: float | None = None


class Parts(Struct, frozen=True):
    """Samples of each part of the dataset; no sample is in two of them."""

    calibration: int
    recovery: int
    evaluation: int


class Report(Struct, frozen=True):
    """Everything that was tried for one task; ``chosen`` names the model it led to."""

    name: str
    task: str
    chosen: str
    candidates: tuple[Entry, ...]
    """The original first."""
    source_uri: str
    source_digest: str
    model_digest: str
    recipe: Recipe
    objectives: Objectives
    engine: str
    libraries: dict[str, str]
    parts: Parts | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    cpu: str | None = None


def make_report(task: Task, outcome: Outcome, *, clocked: bool) -> Report:
    """The report of ``outcome``. Raises LookupError where nothing was chosen."""
    if outcome.choice.chosen is None:
        raise LookupError("nothing was chosen")
    everything = (outcome.original, *outcome.tried)
    best = pareto(everything, timed=clocked)
    reasons = {item.method: item.rejected for item in outcome.choice.others} if clocked else {}
    return Report(
        name=task.name,
        task=task.digest,
        chosen=outcome.choice.chosen.method,
        candidates=tuple(_entry(item, item.method in best, reasons.get(item.method), clocked) for item in everything),
        source_uri=public_uri(task.model.uri),
        source_digest=f"sha256:{outcome.model.sha256}",
        model_digest=outcome.model_digest(),
        recipe=task.recipe,
        objectives=task.recipe.objectives,
        engine=task.engine,
        libraries=library_versions(),
        parts=outcome.parts,
        layers=outcome.layers,
        notes=outcome.notes,
        cpu=outcome.cpu if clocked else None,
    )


def _entry(candidate: Candidate, best: bool, rejected: str | None, clocked: bool) -> Entry:
    measured = candidate.measured
    if not clocked:
        measured = msgspec.structs.replace(measured, **dict.fromkeys(CLOCKED))
    return Entry(method=candidate.method, measured=measured, best=best, rejected=rejected)
