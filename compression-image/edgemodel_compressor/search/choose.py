"""The choice among measured candidates. Pure: the same figures always give the same answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from edgemodel_contract.quality import ANSWERS, ERRORS, lost
from edgemodel_contract.quantity import format_duration, format_size
from edgemodel_contract.result import Candidate, Measurement
from edgemodel_contract.task import Mode, Objectives

DEFAULT_ACCURACY_DROP = 0.01
"""What Auto may lose where no objective says otherwise: one percentage point, or one percent more errors."""
LATENCY_NOISE = 0.05
"""Two runs of one model differ by about this much; less is not called slower."""
SAME_SIZE = 0.05
"""Models that differ by less take as much room; of these, one that is clearly faster is better than the smallest."""
CLEARLY = 0.1
_EPSILON = 1e-9


@dataclass(frozen=True)
class Choice:
    """``chosen``, or None and the one that came ``closest``. ``others`` are the rest, each with its reason."""

    chosen: Candidate | None
    others: tuple[Candidate, ...]
    closest: Candidate | None = None


def choose(
    original: Candidate,
    compressed: Sequence[Candidate],
    objectives: Objectives,
    mode: Mode,
    refused: Mapping[str, str] = MappingProxyType({}),
    quickest: Mapping[str, float] = MappingProxyType({}),
) -> Choice:
    """Pick the smallest candidate that keeps every promise.

    ``Manual`` has only the candidate it names, ``None`` only the original. ``Auto`` also takes the original, loses no
    more than one point of accuracy, or one answer, unless the objectives say otherwise, and without objectives is
    neither larger nor slower than the original. With objectives that say nothing of latency, one slower than the
    original is taken only where no other meets them. Smallest means the bytes a node downloads plus those it keeps:
    layer and model file; of those about as small, one that is clearly faster. ``refused`` maps methods that were found
    out otherwise to what is wrong with them. ``quickest`` are the seconds of a method's quickest runs: other
    programs on the machine only ever add to those, so two models are compared by them; without them by the median.
    """
    if mode == "Manual":
        eligible = list(compressed)
    elif mode == "None":
        eligible = [original]
    else:
        eligible = [original, *compressed]
    judged = [(item, _faults(item, original, objectives, mode, quickest)) for item in eligible]
    judged = [(item, [*faults, *_refusal(refused.get(item.method))]) for item, faults in judged]
    passing = [item for item, faults in judged if not faults]
    rejected = {item.method: ", ".join(text for text, _ in faults) for item, faults in judged if faults}
    if not passing:
        _, nearest = min(enumerate(judged), key=lambda entry: (max(excess for _, excess in entry[1][1]), entry[0]))
        closest = _with_reason(nearest[0], rejected)
        rest = [item for item in (original, *compressed) if item.method != closest.method]
        return Choice(None, tuple(_with_reason(item, rejected) for item in rest), closest)
    patient = mode == "Auto" and objectives.max_latency is None
    slower = {item.method: _slower(item, original, quickest) if patient else [] for item in passing}
    chosen = _best([item for item in passing if not slower[item.method]] or passing, quickest)
    others = [item for item in (original, *compressed) if item.method != chosen.method]
    reasons = {
        item.method: slower[item.method][0][0]
        if slower[item.method] and not slower[chosen.method]
        else f"larger than {chosen.method}"
        if _footprint(item) >= _footprint(chosen)
        else f"slower than {chosen.method}, and hardly smaller"
        for item in passing
    } | rejected
    return Choice(msgspec.structs.replace(chosen, rejected=None), tuple(_with_reason(item, reasons) for item in others))


def allowed_drop(objectives: Objectives, metric: str | None, samples: int, rule: float | None = None) -> float:
    """What Auto may lose of an output that is judged by ``metric``, as ``quality.lost`` counts it.

    ``rule`` is what is said of this output. Where nothing says it, and shares are what is measured, at least one
    answer: of 64 samples one is more than a point, and says nothing.
    """
    if rule is not None:
        return rule
    if objectives.max_accuracy_drop is not None:
        return objectives.max_accuracy_drop
    if metric in ANSWERS and samples:
        return max(DEFAULT_ACCURACY_DROP, 1 / samples)
    return DEFAULT_ACCURACY_DROP


def quality_faults(measured: Measurement) -> list[tuple[str, float]]:
    """Of each output that lost more than it may: a few words, and how far off as a ratio (1 is just missed)."""
    faults: list[tuple[str, float]] = []
    several = len(measured.outputs) > 1
    for item in measured.outputs:
        where = f"output {item.output!r}: " if several else ""
        if item.broken:
            faults.append((f"{where}{item.words}", float("inf")))
        elif item.allowed is not None:
            found = _accuracy_fault(item.metric, item.lost, item.allowed, item.margin)
            faults += [(where + text, excess) for text, excess in found]
    return faults


def accuracy_drop(candidate: Measurement, original: Measurement) -> float | None:
    """What was lost, as ``quality.lost`` counts it; None where it was not measured."""
    if candidate.accuracy is None or original.accuracy is None:
        return None
    return lost(original.metric, original.accuracy, candidate.accuracy)


def _best(passing: Sequence[Candidate], quickest: Mapping[str, float]) -> Candidate:
    """The smallest; or of those that are hardly larger the fastest, where it is clearly faster."""
    smallest = min(passing, key=_footprint)
    room, latency = _footprint(smallest)[0] * (1 + SAME_SIZE), _latency(smallest, quickest)
    timed = [(_latency(item, quickest), item) for item in passing if _footprint(item)[0] <= room]
    found = [(seconds, item) for seconds, item in timed if seconds is not None]
    if latency is None or not found:
        return smallest
    seconds, fastest = min(found, key=lambda pair: pair[0])
    return fastest if seconds < (1 - CLEARLY) * latency else smallest


def _latency(item: Candidate, quickest: Mapping[str, float]) -> float | None:
    return quickest.get(item.method, item.measured.latency_p50)


def _footprint(candidate: Candidate) -> tuple[int, float, str]:
    measured = candidate.measured
    stored = measured.size if measured.layer_size is None else measured.layer_size
    return (measured.size + stored, measured.latency_p50 or 0.0, candidate.method)


def _faults(
    item: Candidate, original: Candidate, objectives: Objectives, mode: Mode, quickest: Mapping[str, float]
) -> list[tuple[str, float]]:
    """Each promise broken: a few words, and how far off as a ratio (1 is just missed)."""
    measured, faults = item.measured, []
    limit = objectives.max_size
    if limit is not None and measured.size > limit:
        faults.append((f"size {format_size(measured.size)} > {format_size(limit)}", measured.size / limit))
    if objectives.max_latency is not None:
        faults += _latency_fault(measured.latency_p95, objectives.max_latency)
    faults += quality_faults(measured)
    allowed = objectives.max_accuracy_drop
    if allowed is None and mode == "Auto" and measured.accuracy is not None:
        allowed = allowed_drop(objectives, original.measured.metric, original.measured.samples)
    if allowed is not None and not measured.outputs:
        faults += _accuracy_fault(measured.metric, accuracy_drop(measured, original.measured), allowed)
    if mode == "Auto" and objectives == Objectives() and item.method != original.method:
        faults += _comparison_faults(item, original, quickest)
    return faults


def _refusal(words: str | None) -> list[tuple[str, float]]:
    return [] if words is None else [(words, 1.0)]


def _latency_fault(p95: float | None, limit: float) -> list[tuple[str, float]]:
    if p95 is None:
        return [("latency not measured", float("inf"))]
    if p95 > limit:
        return [(f"latency p95 {format_duration(p95)} > {format_duration(limit)}", p95 / limit)]
    return []


def _accuracy_fault(
    metric: str | None, drop: float | None, allowed: float, margin: float = 0.0
) -> list[tuple[str, float]]:
    if drop is None:
        return [("accuracy not measured", float("inf"))]
    if not drop + margin <= allowed + _EPSILON:  # what is not a number is no good, either
        # Against a limit of zero a ratio says nothing; one point then counts as twice the limit.
        excess = (drop + margin) / allowed if allowed > 0 else 1 + 100 * (drop + margin)
        what = f"{metric} increase" if metric in ERRORS else "accuracy drop"
        sure = f" ± {100 * margin:.2g}%" if margin and drop <= allowed + _EPSILON else ""
        return [(f"{what} {100 * drop:.2g}%{sure} > {100 * allowed:.3g}%", excess)]
    return []


def _comparison_faults(item: Candidate, original: Candidate, quickest: Mapping[str, float]) -> list[tuple[str, float]]:
    size, limit = item.measured.size, original.measured.size
    larger = [(f"size {format_size(size)} > original {format_size(limit)}", size / limit)] if size > limit else []
    return larger + _slower(item, original, quickest)


def _slower(item: Candidate, original: Candidate, quickest: Mapping[str, float]) -> list[tuple[str, float]]:
    ours, theirs = _latency(item, quickest), _latency(original, quickest)
    if ours is None or theirs is None or ours <= theirs * (1 + LATENCY_NOISE):
        return []
    return [(f"slower: {format_duration(ours)} > original {format_duration(theirs)}", ours / theirs)]


def _with_reason(item: Candidate, reasons: dict[str, str]) -> Candidate:
    return msgspec.structs.replace(item, rejected=reasons.get(item.method, "not asked for"))
