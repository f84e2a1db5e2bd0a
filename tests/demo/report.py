"""The demo's last page: one table per question, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgemodel_contract.quantity import format_duration, format_megabytes
from edgemodel_operator.api import CompressionStatus, EdgeModel, MeasurementStatus

from .scaling import Scaled
from .served import Served

_SHORT_DIGEST = 19


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def compression(models: Sequence[EdgeModel]) -> str:
    """Size, latency and accuracy before → after, as the compression Jobs measured them."""
    rows = []
    for model in models:
        before, after = _done(model)
        rows.append(
            (
                model.metadata.name,
                _method(model),
                f"{format_megabytes(before.size_bytes)} → {format_megabytes(after.size_bytes)}",
                f"{_layer(before)} → {_layer(after)}",
                f"{_latency(before)} → {_latency(after)}",
                f"{_accuracy(before)} → {_accuracy(after)} ({after.samples})",
            )
        )
    head = ("MODEL", "METHOD", "FILE MB", "LAYER MB", "LATENCY p50/p95", "ACCURACY (samples)")
    return table(head, rows)


def rollout(models: Sequence[EdgeModel], served: Sequence[Served]) -> str:
    """Per model and site: the digest that runs, the accuracy of its answers on each path, and the median wait."""
    paths = list(dict.fromkeys(each.path for each in served))
    rows = []
    for model in models:
        for site in model.status.sites:
            answers = [each for each in served if (each.model, each.site) == (model.metadata.name, site.name)]
            cells = [f"{each.accuracy:.1%} · {format_duration(each.median)}" for each in answers]
            digest = (site.image or "").partition("@")[2][:_SHORT_DIGEST]
            rows.append((model.metadata.name, site.name, digest, *cells))
    return table(("MODEL", "SITE", "DIGEST", *(path.upper() for path in paths)), rows)


def replicas(scaled: Scaled) -> str:
    """Replicas over time, a line per change."""
    rows = []
    for moment in scaled.moments:
        rows.append((f"{moment.at:.0f} s", "█" * moment.replicas + f" {moment.replicas}", moment.latency or "–"))
    return table(("AFTER", "REPLICAS", "p95 THEN"), rows)


def _done(model: EdgeModel) -> tuple[MeasurementStatus, MeasurementStatus]:
    found = model.status.compression
    if not isinstance(found, CompressionStatus) or found.original is None or found.chosen is None:
        raise ValueError(f"EdgeModel {model.metadata.name} has no figures in status.compression")
    return found.original, found.chosen.measured


def _method(model: EdgeModel) -> str:
    found = model.status.compression
    return found.chosen.method if found is not None and found.chosen is not None else "–"


def _layer(measured: MeasurementStatus) -> str:
    return format_megabytes(measured.layer_size_bytes) if measured.layer_size_bytes is not None else "–"


def _latency(measured: MeasurementStatus) -> str:
    if measured.latency_p50 is None or measured.latency_p95 is None:
        return "–"
    return f"{measured.latency_p50}/{measured.latency_p95}"


def _accuracy(measured: MeasurementStatus) -> str:
    return measured.accuracy if measured.accuracy is not None else "–"
