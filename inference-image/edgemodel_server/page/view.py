"""Card and report → the texts and figures of the model's page. Pure; escaping is left to the templates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgemodel_contract.base import Struct
from edgemodel_contract.card import ORIGINAL, ModelCard
from edgemodel_contract.quality import ERRORS, MEANING, SHARES, format_quality, lost
from edgemodel_contract.quantity import format_duration, format_number
from edgemodel_contract.scatter import Best, Frame, Kind, Plot, Point, scatter
from edgemodel_contract.task import Recipe, TensorSpec
from edgemodel_server.page.example import example_input
from edgemodel_server.page.report import Entry, Report

_SPACE = "\N{NO-BREAK SPACE}"
_EXAMPLE_PERIOD = 10
_FRAME = Frame(width=360, height=250, left=52, right=20, top=28, bottom=44)
_MARK = 14
"""Points nearer than this cover each other."""


@dataclass(frozen=True)
class Change:
    """One figure before and after. ``verdict`` puts the change in words; empty where nothing can be said."""

    title: str
    before: str
    after: str
    verdict: str


@dataclass(frozen=True)
class Column:
    """A column of the table of candidates that at least one of them fills."""

    key: str
    title: str


@dataclass(frozen=True)
class Row:
    """One candidate as text, in the table's columns."""

    number: int
    method: str
    size: str
    cells: dict[str, str]
    """By the key of a Column."""
    verdict: str
    chosen: bool


_COLUMNS = (
    Column("p50", "p50"),
    Column("p95", "p95"),
    Column("accuracy", "Accuracy"),
    Column("top5", "Top 5"),
    Column("zeros", "Zeros"),
)


@dataclass(frozen=True)
class Chart:
    """A plot with its words."""

    title: str
    y_name: str
    plot: Plot


@dataclass(frozen=True)
class Tensor:
    """An input or output as text."""

    name: str
    datatype: str
    shape: str


@dataclass(frozen=True)
class ModelView:
    """All that the template of the model's page needs. Lists are empty where nothing is known."""

    name: str
    kind: str
    method: str
    is_original: bool
    predicts: bool
    has_report_page: bool
    changes: tuple[Change, ...]
    basis: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    charts: tuple[Chart, ...]
    notes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    preprocessing: str
    batching: str
    recipe: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    libraries: tuple[tuple[str, str], ...]
    script: dict[str, Any]
    """What the page's script reads."""


def model_view(
    card: ModelCard, digest: str, report: Report | None, batching: str, *, predicts: bool, has_report_page: bool
) -> ModelView:
    """The page of the model that ``card`` describes. ``batching`` says whether requests share runs. ``predicts``: it
    sorts images into classes."""
    origin, report = card.provenance, report or Report(())
    rows = tuple(_row(number, entry, report, card.comparison.metric) for number, entry in enumerate(report.entries, 1))
    classes = f" · {len(card.labels)} classes" if card.labels else ""
    return ModelView(
        name=card.name,
        kind=("Image classifier" if predicts else "ONNX model") + classes,
        method=origin.method,
        is_original=origin.method == ORIGINAL,
        predicts=predicts,
        has_report_page=has_report_page,
        changes=_changes(card, report),
        basis=_basis(card, report),
        columns=tuple(column for column in _COLUMNS if any(row.cells[column.key] for row in rows)),
        rows=rows,
        charts=_charts(report, card.comparison.metric),
        notes=report.notes,
        inputs=tuple(map(_tensor, card.inputs)),
        outputs=tuple(map(_tensor, card.outputs)),
        labels=card.labels,
        preprocessing=_preprocessing(card) if predicts else "",
        batching=batching,
        recipe=_recipe(origin.recipe),
        provenance=(
            ("Source", origin.source_uri),
            ("Source digest", origin.source_digest),
            ("Model digest", digest),
            ("Task", origin.task),
            ("Compression engine", origin.engine),
        ),
        libraries=tuple(sorted(origin.libraries.items())),
        script={
            "model": card.name,
            "labels": card.labels,
            "inputs": [example_input(spec, limit=_EXAMPLE_PERIOD) for spec in card.inputs],
        },
    )


def size(value: float | None) -> str:
    """Bytes with three digits, in the unit a person would choose."""
    if value is None:
        return ""
    factor, unit = (1e6, "MB") if value >= 1e6 else (1e3, "kB") if value >= 1e3 else (1, "bytes")
    return f"{format_number(value / factor)}{_SPACE}{unit}"


def duration(seconds: float | None) -> str:
    """Seconds with three digits, in the unit a person would choose."""
    if seconds is None:
        return ""
    text = format_duration(seconds)
    number = text.rstrip("mus")
    return f"{number}{_SPACE}{text[len(number) :].replace('u', 'µ')}"


def quality(metric: str | None, value: float | None) -> str:
    """The metric's value as people write it; without a metric as a share."""
    return "" if value is None else format_quality(metric, value).replace("%", f"{_SPACE}%")


def _changes(card: ModelCard, report: Report) -> tuple[Change, ...]:
    comparison = card.comparison
    changes = [
        Change(
            "Size",
            size(comparison.source_size),
            size(comparison.model_size),
            _less(comparison.source_size, comparison.model_size, "smaller", "larger"),
        )
    ]
    before, after = report.find(ORIGINAL), report.find(report.chosen or card.provenance.method)
    if before and after:
        for name, first, second in (
            ("Latency p50", before.latency_p50, after.latency_p50),
            ("Latency p95", before.latency_p95, after.latency_p95),
        ):
            if first is not None and second is not None:
                changes.append(
                    Change(name, duration(first), duration(second), _less(first, second, "faster", "slower"))
                )
    if comparison.source_accuracy is not None and comparison.model_accuracy is not None:
        metric, before_value, after_value = comparison.metric, comparison.source_accuracy, comparison.model_accuracy
        change = 100 * lost(metric, before_value, after_value)
        # Of errors a loss is more of them, of everything else less.
        moved, unit = (change, "%") if metric in ERRORS else (-change, " points")
        verdict = "no loss" if abs(change) < 0.005 else f"{moved:+.2f}{unit}".replace("-", "\N{MINUS SIGN}")
        title = metric or "" if metric in ERRORS else "Accuracy"
        changes.append(Change(title, quality(metric, before_value), quality(metric, after_value), verdict))
    return tuple(changes)


def _less(before: float, after: float, better: str, worse: str) -> str:
    if not before or not after or abs(before / after - 1) < 0.005:
        return "unchanged"
    word, factor = (better, before / after) if before > after else (worse, after / before)
    return f"{factor:.2f}× {word}" if factor < 10 else f"{factor:.0f}× {word}"


def _basis(card: ModelCard, report: Report) -> str:
    comparison = card.comparison
    said = []
    if comparison.metric and comparison.samples:
        meaning = MEANING.get(comparison.metric, comparison.metric)
        said.append(f"Accuracy: {meaning}, on {comparison.samples:,} held-out samples.")
    if report.cpu and any(entry.latency_p50 is not None for entry in report.entries):
        threads = "" if report.threads is None else f" on {report.threads} thread{'s' if report.threads > 1 else ''},"
        said.append(f"Latency: batch of one,{threads} on {report.cpu}.")
    return " ".join(said)


def _row(number: int, entry: Entry, report: Report, metric: str | None) -> Row:
    is_chosen = entry.method == report.chosen
    return Row(
        number=number,
        method=entry.method,
        size=size(entry.size),
        cells={
            "p50": duration(entry.latency_p50),
            "p95": duration(entry.latency_p95),
            "accuracy": quality(metric, entry.accuracy),
            "top5": quality("top5", entry.top5),
            "zeros": "" if entry.sparsity is None else f"{100 * entry.sparsity:.0f}{_SPACE}%",
        },
        verdict="chosen" if is_chosen else entry.rejected or "",
        chosen=is_chosen,
    )


def _charts(report: Report, metric: str | None) -> tuple[Chart, ...]:
    def chart(title: str, y_name: str, best: Best, values: Sequence[float | None]) -> list[Chart]:
        points = [
            Point(number, entry.method, entry.size / 1e6, value, _kind(entry, report))
            for number, (entry, value) in enumerate(zip(report.entries, values, strict=True), 1)
            if entry.size is not None and value is not None
        ]
        return [Chart(title, y_name, scatter(points, best, _FRAME, apart=_MARK))] if len(points) > 1 else []

    latencies = [None if entry.latency_p50 is None else 1000 * entry.latency_p50 for entry in report.entries]
    in_percent = metric is None or metric in SHARES
    accuracies = [
        None if entry.accuracy is None else entry.accuracy * (100 if in_percent else 1) for entry in report.entries
    ]
    return (
        *chart("Size and latency", "p50, ms", "low", latencies),
        *chart("Size and accuracy", "accuracy, %" if in_percent else str(metric), _better(metric), accuracies),
    )


def _better(metric: str | None) -> Best:
    return "low" if metric in ERRORS else "high"


def _kind(entry: Entry, report: Report) -> Kind:
    if entry.method == report.chosen:
        return "chosen"
    return "original" if entry.method == ORIGINAL else "other"


def _tensor(spec: TensorSpec) -> Tensor:
    shape = " × ".join("any" if dimension < 0 else str(dimension) for dimension in spec.shape)
    return Tensor(spec.name, spec.datatype, shape or "scalar")


def _preprocessing(card: ModelCard) -> str:
    steps = card.preprocessing
    said = ["pixel ÷ 255" if steps.scale == 1 / 255 else f"pixel × {format_number(steps.scale)}"]
    if steps.mean:
        said.append(f"− mean ({', '.join(map(format_number, steps.mean))})")
    if steps.std:
        said.append(f"÷ deviation ({', '.join(map(format_number, steps.std))})")
    return f"{' '.join(said)}, {steps.layout}"


def _recipe(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """Every setting of the recipe that has a value, whatever settings this version of the contract has."""

    def said(struct: Struct, prefix: str) -> Iterator[tuple[str, str]]:
        for name, value in msgspec.structs.asdict(struct).items():
            words = name.replace("_", " ")
            if isinstance(value, Struct):
                yield from said(value, "" if value is recipe.objectives else f"{words} ")
            elif value is not None and value != ():
                yield f"{prefix}{words}".capitalize(), _setting(name, value)

    return tuple(said(recipe, ""))


def _setting(name: str, value: Any) -> str:
    if name.endswith("size") and isinstance(value, int):
        return size(value)
    if name.endswith("latency"):
        return duration(value)
    if name.endswith("drop"):
        return f"{100 * value:g} percentage points"
    if name == "sparsity":
        return f"{100 * value:g}{_SPACE}%"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
