"""The before/after table for people. Pure."""

from collections.abc import Iterable, Sequence

from edgemodel_compressor.search.engine import Outcome
from edgemodel_contract.quality import MEANING, format_quality
from edgemodel_contract.quantity import format_duration, format_number, format_size
from edgemodel_contract.result import Candidate

_HEADERS = ("", "method", "size", "as layer", "p50", "p95", "accuracy", "zeros", "verdict")


def render(outcome: Outcome) -> str:
    """Every candidate on a line, the chosen one marked, and below it what the figures rest on."""
    reasons = {item.method: item.rejected or "" for item in outcome.choice.others}
    chosen, closest = outcome.choice.chosen, outcome.choice.closest
    if closest:
        reasons[closest.method] = f"closest: {closest.rejected}"
    if chosen:
        reasons[chosen.method] = "chosen"
    rows = [
        _row(item, reasons[item.method], outcome.original, item.method == (chosen.method if chosen else None))
        for item in (outcome.original, *outcome.tried)
    ]
    lines = [*_align([_HEADERS, *rows]), "", _basis(outcome), *_outputs(outcome), *_throughput(outcome), *outcome.notes]
    return "\n".join(lines)


def _row(item: Candidate, verdict: str, original: Candidate, is_chosen: bool) -> tuple[str, ...]:
    measured, before = item.measured, original.measured
    layer = "-" if measured.layer_size is None else format_size(measured.layer_size)
    return (
        "*" if is_chosen else "",
        item.method,
        f"{format_size(measured.size)} ({100 * measured.size / before.size:.0f}%)",
        layer,
        _time(measured.latency_p50),
        _time(measured.latency_p95),
        "-" if measured.accuracy is None else format_quality(measured.metric, measured.accuracy),
        "-" if measured.sparsity is None else f"{100 * measured.sparsity:.0f}%",
        verdict,
    )


def _basis(outcome: Outcome) -> str:
    measured = outcome.original.measured
    times = f"latency: batch 1, {measured.threads} thread(s), {outcome.cpu}"
    if measured.metric is None:
        return f"{times}; accuracy: not measured, no dataset"
    worst = ", of the output that lost most" if len(measured.outputs) > 1 else ""
    return f"{times}; accuracy: {MEANING[measured.metric]}{worst}, {measured.samples} samples"


def _outputs(outcome: Outcome) -> list[str]:
    """A line for each output of the chosen model, in words."""
    chosen = outcome.choice.chosen
    if chosen is None or chosen.method == outcome.original.method:
        return []
    measured = outcome.served[1].measured
    if not measured.outputs:
        return []
    where = f"{chosen.method} on {measured.samples} samples"
    where += " that the search has not read" if measured.confirmed else ""
    return [
        f"{where}, output {item.output}: {format_quality(item.metric, item.value)} ({item.metric}); {item.words}"
        for item in measured.outputs
    ]


def _throughput(outcome: Outcome) -> list[str]:
    if not outcome.throughput:
        return []
    shown = outcome.choice.chosen or outcome.choice.closest or outcome.original
    threads = ", ".join(str(item.threads) for item in outcome.throughput)
    text = (
        f"inferences per second on {threads} thread(s): original {_rates(item.original for item in outcome.throughput)}"
    )
    made = [item.chosen for item in outcome.throughput if item.chosen is not None]
    return [f"{text}; {shown.method} {_rates(made)}" if made else text]


def _rates(values: Iterable[float]) -> str:
    return ", ".join(format_number(value) for value in values)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADERS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
