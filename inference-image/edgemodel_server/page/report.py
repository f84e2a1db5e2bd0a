"""The report beside the model, read leniently: it belongs to another program's version, and is only shown.

What is missing or of another shape is left out, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import orjson

from edgemodel_contract.card import ORIGINAL
from edgemodel_contract.serving import Timings

MAX_ENTRIES = 200


@dataclass(frozen=True)
class Entry:
    """One candidate. Bytes, seconds, and shares from 0 to 1; None is what the report does not say."""

    method: str
    size: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    accuracy: float | None = None
    top5: float | None = None
    sparsity: float | None = None
    rejected: str | None = None


@dataclass(frozen=True)
class Report:
    """All that was tried, in the report's order; ``chosen`` is the method of the model served. ``cpu`` and ``threads``
    are what latencies were measured on.
    """

    entries: tuple[Entry, ...]
    chosen: str | None = None
    cpu: str | None = None
    threads: int | None = None
    notes: tuple[str, ...] = ()

    def find(self, method: str | None) -> Entry | None:
        """The candidate of that method."""
        return next((entry for entry in self.entries if entry.method == method), None)


def read_report(content: bytes) -> Report | None:
    """The report in ``content``; None if it has no candidates that can be shown."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    listed = document.get("candidates")
    entries = [_entry(item) for item in listed[:MAX_ENTRIES]] if isinstance(listed, list) else []
    known = tuple(entry for entry in entries if entry is not None)
    if not known:
        return None
    notes = document.get("notes")
    return Report(
        entries=known,
        chosen=_text(document.get("chosen")),
        cpu=_text(document.get("cpu")),
        notes=tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, list) else (),
    )


def read_timings(text: str) -> Timings | None:
    """The timings in ``text``; None if they are none that can be shown."""
    try:
        return msgspec.json.decode(text, type=Timings)
    except msgspec.MsgspecError:
        return None


def timed(report: Report, timings: Timings, served: str) -> Report:
    """``report`` with the latencies of the original and of the chosen method, ``served`` where it names none.

    One that has latencies of its own stays as it is.
    """
    if any(entry.latency_p50 is not None for entry in report.entries):
        return report
    known = {ORIGINAL: timings.original, report.chosen or served: timings.chosen}

    def clocked(entry: Entry) -> Entry:
        timing = known.get(entry.method)
        if timing is None:
            return entry
        return replace(entry, latency_p50=timing.latency_p50, latency_p95=timing.latency_p95)

    return replace(
        report, entries=tuple(map(clocked, report.entries)), cpu=timings.cpu or None, threads=timings.threads
    )


def _entry(item: Any) -> Entry | None:
    if not isinstance(item, dict):
        return None
    method = _text(item.get("method"))
    if method is None:
        return None
    measured = item.get("measured")
    values: Mapping[str, Any] = {**measured, **item} if isinstance(measured, dict) else item
    return Entry(
        method=method,
        size=_number(values, "size"),
        latency_p50=_number(values, "latencyP50"),
        latency_p95=_number(values, "latencyP95"),
        accuracy=_number(values, "accuracy"),
        top5=_number(values, "top5"),
        sparsity=_number(values, "sparsity"),
        rejected=_text(values.get("rejected")),
    )


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return float(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
