"""The report as one HTML page without any other file, for people who were not there. Pure."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeVar

from edgemodel_compressor.report.document import Entry, Report
from edgemodel_compressor.report.plot import Axis, Point, plot
from edgemodel_contract.quality import ERRORS, MEANING, SHARES, format_quality
from edgemodel_contract.quantity import format_duration, format_number, format_size
from edgemodel_contract.result import Measurement

T = TypeVar("T")

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6677;--line:#dde3ea;--paper:#fff;--mark:#0b6bcb;--good:#12805c}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf2;--soft:#9aa7b8;--line:#2b3544;--paper:#12171f;--mark:#5cb3ff;
--good:#4cc79a}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.15rem;margin:2.6rem 0 .6rem}p{margin:.4rem 0}.soft{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:1rem;margin:1.6rem 0}
.tile{border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1rem}.tile b{display:block;font-size:1.5rem}
.tile span{color:var(--soft);font-size:.9rem}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
td.words{text-align:left;white-space:normal;min-width:12rem}tr.chosen td{font-weight:600}
tr.chosen td:first-child::before{content:"● ";color:var(--good)}
svg{width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg .label{fill:var(--ink)}
svg .grid{stroke:var(--line)}svg .front{fill:none;stroke:var(--mark);stroke-width:2;stroke-dasharray:5 4}
svg .other{fill:var(--soft);opacity:.55}svg .best{fill:var(--mark)}svg .chosen{fill:var(--good)}
svg .interval{stroke:var(--soft);opacity:.6}.bar{display:inline-block;height:.6rem;border-radius:.2rem;
background:var(--mark);min-width:1px}code{font-size:.85em;word-break:break-all}dl{display:grid;
grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;font-size:.92rem}dt{color:var(--soft)}dd{margin:0}
@media(max-width:34rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
"""


def render_page(report: Report) -> str:
    """The whole document."""
    original, chosen = report.candidates[0], _shown(report)
    title = f"{report.name}: {chosen.method}"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{escape(report.name)}</h1>",
            f'<p class="soft">{escape(_sentence(report, original, chosen))}</p>',
            _tiles(original.measured, chosen.measured),
            _plots(report),
            "<h2>Everything that was tried</h2>",
            _candidates(report),
            _outputs(report, chosen),
            _throughput(report, chosen.method),
            _layers(report),
            _notes(report),
            _origins(report),
            "</main></body></html>\n",
        ]
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


def _tiles(before: Measurement, after: Measurement) -> str:
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
    tiles = "".join(
        f'<div class="tile"><span>{escape(name)}</span><b>{escape(new)}</b><span>was {escape(old)}</span></div>'
        for name, old, new in rows
    )
    return f'<div class="tiles">{tiles}</div>'


def _plots(report: Report) -> str:
    entries = [entry for entry in report.candidates if entry.measured.accuracy is not None]
    if len(entries) < 2:
        return ""
    metric = entries[0].measured.metric or "accuracy"
    scale = 100.0 if metric in SHARES else 1.0
    quality = Axis(f"{metric}, %" if scale == 100 else metric, less=metric in ERRORS)
    costs: list[tuple[str, list[float | None]]] = [("size of the file, MB", [e.measured.size / 1e6 for e in entries])]
    if all(entry.measured.latency_p50 for entry in entries):
        costs.append(("median latency, ms", [1e3 * (e.measured.latency_p50 or 0) for e in entries]))
    elif all(entry.measured.macs for entry in entries):
        costs.append(("multiplications, millions", [(e.measured.macs or 0) / 1e6 for e in entries]))
    parts = ["<h2>Cost and quality</h2>"]
    parts.append(
        '<p class="soft">One dot per candidate; the bar through it is the 95 % interval of what was measured. Nothing '
        "that was tried is at once cheaper and better than what the dashed line joins. Blue dots are beaten by none in "
        "size, speed and quality together; the green one was chosen.</p>"
    )
    for name, values in costs:
        points = [
            Point(
                entry.method,
                value or 0.0,
                scale * (entry.measured.accuracy or 0.0),
                _scaled(entry.measured.accuracy_low, scale),
                _scaled(entry.measured.accuracy_high, scale),
                entry.best,
                entry.method == report.chosen,
            )
            for entry, value in zip(entries, values, strict=True)
        ]
        parts.append(plot(points, Axis(name, log=True), quality))
    return "".join(parts)


def _candidates(report: Report) -> str:
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
        body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        mark = ' class="chosen"' if chosen else ""
        rows.append(f'<tr{mark}>{body}<td class="words">{escape(verdict)}</td></tr>')
    return _table(head, rows)


def _outputs(report: Report, chosen: Entry) -> str:
    """Each output of the shown model, as it was confirmed, or else as the search has seen it."""
    measured = report.confirmed.chosen if report.confirmed else chosen.measured
    if not measured.outputs:
        return ""
    rows = []
    for item in measured.outputs:
        cells = [
            item.output,
            item.metric,
            format_quality(item.metric, item.value),
            _interval(item.metric, item.low, item.high),
            f"{100 * item.lost:.2g}%",
            _or_dash(item.allowed, lambda share: f"{100 * share:.3g}%"),
        ]
        body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr>{body}<td class="words">{escape(item.words)}</td></tr>')
    if measured.confirmed:
        basis = (
            f"Measured after the choice by a process of its own, on {measured.samples} samples that no step of the "
            "search has read."
        )
    else:
        basis = f"On the {measured.samples} samples that judged all candidates."
    head = ["output", "judged by", "quality", "95 % interval", "lost", "allowed", "what changed"]
    return f'<h2>Output by output: {escape(chosen.method)}</h2><p class="soft">{basis}</p>' + _table(head, rows)


def _throughput(report: Report, method: str) -> str:
    if not report.throughput:
        return ""
    most = max(max(item.original, item.chosen or 0.0) for item in report.throughput)
    compared = any(item.chosen is not None for item in report.throughput)
    rows = []
    for item in report.throughput:
        cells = [f"<td>{item.threads}</td>", _bar(item.original, most)]
        if item.chosen is not None:
            cells += [_bar(item.chosen, most), f"<td>{item.chosen / item.original:.2f}×</td>"]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        "<h2>Throughput by threads</h2>"
        '<p class="soft">Inferences per second, one after the other, with so many threads for each model; at the pace '
        "of the median one.</p>"
        + _table(["threads", "original", *([method, "times as fast"] if compared else [])], rows)
    )


def _bar(value: float, most: float) -> str:
    bar = f'<span class="bar" style="width:{8 * value / most:.2f}rem"></span>'
    return f'<td class="words">{bar} {format_number(value)}</td>'


def _layers(report: Report) -> str:
    if not report.layers:
        return ""
    worst = max((layer.noise or 0.0 for layer in report.layers), default=0.0)
    rows = []
    for layer in report.layers:
        bar = ""
        if layer.noise is not None and worst > 0:
            bar = f'<span class="bar" style="width:{8 * layer.noise / worst:.2f}rem"></span> {layer.noise:.2g}'
        shape = " × ".join(str(size) for size in layer.shape)
        rows.append(
            f"<tr><td>{escape(layer.name)}</td><td>{shape}</td><td>{100 * layer.sparsity:.0f}%</td>"
            f'<td class="words">{bar}</td></tr>'
        )
    return (
        "<h2>Layer by layer</h2>"
        '<p class="soft">Zeros among the weights of the chosen model, and how much of the output turns to noise when '
        "this layer becomes integers.</p>" + _table(["weight", "shape", "zeros", "sensitivity"], rows)
    )


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f"<h2>What was left whole or not possible</h2><ul>{items}</ul>"


def _origins(report: Report) -> str:
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
    items = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(text)}</code></dd>" for name, text in facts)
    return f"<h2>Where it comes from</h2><dl>{items}</dl>"


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


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
