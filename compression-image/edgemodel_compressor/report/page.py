"""The report as one HTML page without any other file, for people who were not there. Pure but for its templates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgemodel_compressor.report.document import Entry, Report
from edgemodel_contract.card import ORIGINAL
from edgemodel_contract.quality import ERRORS, MEANING, SHARES, format_quality
from edgemodel_contract.quantity import format_duration, format_number, format_size
from edgemodel_contract.result import Measurement
from edgemodel_contract.scatter import Frame, Kind, Plot, Point, scatter

T = TypeVar("T")

_TEMPLATES = Path(__file__).parent / "templates"
_FRAME = Frame(width=720, height=360, left=72, right=24, top=24, bottom=52)


@dataclass(frozen=True)
class Tile:
    """One figure of the original and of the shown model."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Chart:
    """A plot with the names of its axes."""

    x_name: str
    y_name: str
    plot: Plot


@dataclass(frozen=True)
class Bar:
    """A bar as long as its ``share`` of the longest, and the figure beside it."""

    share: float
    text: str


@dataclass(frozen=True)
class Row:
    """A row of a table: narrow cells, then bars, then words."""

    cells: tuple[str, ...]
    words: str = ""
    bars: tuple[Bar, ...] = ()
    chosen: bool = False


@dataclass(frozen=True)
class Table:
    """A table, and in ``basis`` what its figures are about."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]
    basis: str = ""


def render_page(report: Report) -> str:
    """The whole document; every value is escaped."""
    original, chosen = report.candidates[0], _shown(report)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html").render(
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        name=report.name,
        shown=chosen.method,
        sentence=_sentence(report, original, chosen),
        tiles=_tiles(original.measured, chosen.measured),
        charts=_charts(report),
        candidates=_candidates(report),
        outputs=_outputs(report, chosen),
        throughput=_throughput(report, chosen.method),
        layers=_layers(report),
        notes=report.notes,
        facts=_facts(report),
    )


def _shown(report: Report) -> Entry:
    """The candidate that the page is about: the chosen one, else the one that came closest."""
    name = report.chosen or report.closest
    return next((entry for entry in report.candidates if entry.method == name), report.candidates[0])


def _sentence(report: Report, original: Entry, chosen: Entry) -> str:
    if report.chosen is None:
        return (
            f"None of {len(report.candidates)} candidates meets the objectives. {chosen.method} came closest: "
            f"{chosen.rejected or 'see below'}."
        )
    if chosen.method == original.method:
        return f"Of {len(report.candidates)} candidates none was better: the original is served as it is."
    factor = original.measured.size / chosen.measured.size
    text = f"Compressed by {chosen.method}: {factor:.1f} times smaller"
    before, after = original.measured.latency_p50, chosen.measured.latency_p50
    if before and after:
        text += f", {before / after:.1f} times faster" if after <= before else f", {after / before:.1f} times slower"
    return f"{text}, the best of {len(report.candidates)} candidates that were built and measured."


def _tiles(before: Measurement, after: Measurement) -> list[Tile]:
    rows = [("Model file", format_size(before.size), format_size(after.size))]
    if before.layer_size and after.layer_size:
        rows.append(("To download", format_size(before.layer_size), format_size(after.layer_size)))
    if before.latency_p50 and after.latency_p50:
        threads = f"{after.threads} thread" + ("" if after.threads == 1 else "s")
        rows.append(
            (f"Median latency, {threads}", format_duration(before.latency_p50), format_duration(after.latency_p50))
        )
    if before.macs and after.macs:
        rows.append(("Multiplications", _count(before.macs), _count(after.macs)))
    if before.accuracy is not None and after.accuracy is not None:
        name = f"{after.metric} on {after.samples} samples"
        rows.append((name, format_quality(after.metric, before.accuracy), format_quality(after.metric, after.accuracy)))
    if before.top5 is not None and after.top5 is not None:
        rows.append(("top5", format_quality("Top5", before.top5), format_quality("Top5", after.top5)))
    return [Tile(*row) for row in rows]


def _charts(report: Report) -> list[Chart]:
    entries = [entry for entry in report.candidates if entry.measured.accuracy is not None]
    if len(entries) < 2:
        return []
    metric = entries[0].measured.metric or "accuracy"
    scale = 100.0 if metric in SHARES else 1.0
    quality = f"{metric}, %" if scale == 100 else metric
    costs: list[tuple[str, list[float | None]]] = [("size of the file, MB", [e.measured.size / 1e6 for e in entries])]
    if all(entry.measured.latency_p50 for entry in entries):
        costs.append(("median latency, ms", [1e3 * (e.measured.latency_p50 or 0) for e in entries]))
    elif all(entry.measured.macs for entry in entries):
        costs.append(("multiplications, millions", [(e.measured.macs or 0) / 1e6 for e in entries]))
    charts = []
    for name, values in costs:
        points = [
            Point(
                number,
                entry.method,
                value or 0.0,
                scale * (entry.measured.accuracy or 0.0),
                _kind(entry, report),
                _scaled(entry.measured.accuracy_low, scale),
                _scaled(entry.measured.accuracy_high, scale),
            )
            for number, (entry, value) in enumerate(zip(entries, values, strict=True), 1)
        ]
        plot = scatter(points, "low" if metric in ERRORS else "high", _FRAME, log=True)
        charts.append(Chart(name, quality, plot))
    return charts


def _kind(entry: Entry, report: Report) -> Kind:
    if entry.method == report.chosen:
        return "chosen"
    if entry.method == ORIGINAL:
        return "original"
    return "best" if entry.best else "other"


def _candidates(report: Report) -> Table:
    timed = any(entry.measured.latency_p50 for entry in report.candidates)
    head = ["method", "file", "as layer", "parameters", "mult.", "zeros"]
    head += ["p50", "p95", "per second", "memory"] if timed else []
    ranked = any(entry.measured.top5 is not None for entry in report.candidates)
    head += [report.candidates[0].measured.metric or "quality", "95 % interval"]
    head += ["top5", "95 % interval"] if ranked else []
    head.append("verdict")
    rows = []
    for entry in report.candidates:
        measured = entry.measured
        cells = [
            entry.method,
            format_size(measured.size),
            _or_dash(measured.layer_size, format_size),
            _or_dash(measured.parameters, _count),
            _or_dash(measured.macs, _count),
            _or_dash(measured.sparsity, lambda share: f"{100 * share:.0f}%"),
        ]
        if timed:
            cells += [
                _or_dash(measured.latency_p50, format_duration),
                _or_dash(measured.latency_p95, format_duration),
                _or_dash(measured.throughput, format_number),
                _or_dash(measured.peak_memory, format_size),
            ]
        cells += [
            _or_dash(measured.accuracy, lambda value, m=measured: format_quality(m.metric, value)),  # type: ignore[misc]
            _interval(measured.metric, measured.accuracy_low, measured.accuracy_high),
        ]
        if ranked:
            cells += [
                _or_dash(measured.top5, lambda value: format_quality("Top5", value)),
                _interval("Top5", measured.top5_low, measured.top5_high),
            ]
        chosen = entry.method == report.chosen
        verdict = "chosen" if chosen else entry.rejected or ("nothing beats it in all" if entry.best else "")
        rows.append(Row(tuple(cells), verdict, chosen=chosen))
    return Table(tuple(head), tuple(rows))


def _outputs(report: Report, chosen: Entry) -> Table | None:
    """Each output of the shown model, as it was confirmed, or else as the search has seen it."""
    measured = report.confirmed.chosen if report.confirmed else chosen.measured
    if not measured.outputs:
        return None
    rows = []
    for item in measured.outputs:
        cells = (
            item.output,
            item.metric,
            format_quality(item.metric, item.value),
            _interval(item.metric, item.low, item.high),
            f"{100 * item.lost:.2g}%",
            _or_dash(item.allowed, lambda share: f"{100 * share:.3g}%"),
        )
        rows.append(Row(cells, item.words))
    if measured.confirmed:
        basis = (
            f"Measured after the choice by a process of its own, on {measured.samples} samples that no step of the "
            "search has read."
        )
    else:
        basis = f"On the {measured.samples} samples that judged all candidates."
    head = ("output", "judged by", "quality", "95 % interval", "lost", "allowed", "what changed")
    return Table(head, tuple(rows), basis)


def _throughput(report: Report, method: str) -> Table | None:
    if not report.throughput:
        return None
    most = max(max(item.original, item.chosen or 0.0) for item in report.throughput)
    compared = any(item.chosen is not None for item in report.throughput)
    rows = []
    for item in report.throughput:
        figures = [item.original] if item.chosen is None else [item.original, item.chosen]
        rows.append(
            Row(
                (str(item.threads),),
                "" if item.chosen is None else f"{item.chosen / item.original:.2f}×",
                tuple(Bar(figure / most, format_number(figure)) for figure in figures),
            )
        )
    return Table(("threads", ORIGINAL, *((method, "times as fast") if compared else ())), tuple(rows))


def _layers(report: Report) -> list[Row]:
    worst = max((layer.noise or 0.0 for layer in report.layers), default=0.0)
    rows = []
    for layer in report.layers:
        bars = (Bar(layer.noise / worst, f"{layer.noise:.2g}"),) if layer.noise is not None and worst > 0 else ()
        shape = " × ".join(str(size) for size in layer.shape)
        rows.append(Row((layer.name, shape, f"{100 * layer.sparsity:.0f}%"), bars=bars))
    return rows


def _facts(report: Report) -> Sequence[tuple[str, str]]:
    measured = report.candidates[0].measured
    facts: list[tuple[str, str]] = []
    if measured.metric:
        facts.append((measured.metric, MEANING[measured.metric]))
    if measured.top5 is not None:
        facts.append(("top5", MEANING["Top5"]))
    if report.parts:
        parts = report.parts
        facts.append(
            (
                "Samples",
                f"{parts.calibration} to calibrate, {parts.recovery} to train, {parts.evaluation} to judge, "
                f"{parts.confirmation} to confirm; none twice",
            )
        )
    if report.cpu:
        facts.append(("Measured on", f"{report.cpu}, batch 1, {measured.threads} thread(s)"))
    else:
        facts.append(("Latency", "measured too; as it differs from run to run, it is on the page of each site instead"))
    facts += [
        ("Source", report.source_uri),
        ("Source digest", report.source_digest),
        ("Model digest", report.model_digest or "none"),
        ("Task", report.task),
        ("Engine", report.engine),
        ("Libraries", ", ".join(f"{name} {number}" for name, number in sorted(report.libraries.items()))),
    ]
    return facts


def _interval(metric: str | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "–"
    return f"{format_quality(metric, low)} – {format_quality(metric, high)}"


def _or_dash(value: T | None, write: Callable[[T], str]) -> str:
    return "–" if value is None else write(value)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _count(number: int) -> str:
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g}{letter}"
    return str(number)
