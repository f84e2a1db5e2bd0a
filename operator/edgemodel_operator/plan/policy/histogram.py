"""Percentiles from Prometheus histograms, as PromQL's ``histogram_quantile`` computes them."""

import math
from collections.abc import Iterable, Mapping

Buckets = Mapping[float, float]
"""Upper bound in seconds (the last one is infinity) → cumulative count."""


def difference(newer: Buckets, older: Buckets) -> dict[float, float] | None:
    """What was counted between two readings; None if the counter began anew in between."""
    result = {bound: newer.get(bound, 0.0) - older.get(bound, 0.0) for bound in newer.keys() | older.keys()}
    return None if any(count < 0 for count in result.values()) else result


def total(histograms: Iterable[Buckets]) -> dict[float, float]:
    """Sum over servers."""
    result: dict[float, float] = {}
    for histogram in histograms:
        for bound, count in histogram.items():
            result[bound] = result.get(bound, 0.0) + count
    return result


def quantile(histogram: Buckets, share: float) -> float | None:
    """The value below which ``share`` of the observations lie, interpolated inside its bucket; None without any.

    What lies beyond the last finite bound counts as that bound: the histogram knows no more.
    """
    bounds = sorted(histogram)
    if not bounds or histogram[bounds[-1]] <= 0:
        return None
    rank = share * histogram[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = histogram[bound]
        if count >= rank:
            if math.isinf(bound):
                return lower
            return bound if count == below else lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
