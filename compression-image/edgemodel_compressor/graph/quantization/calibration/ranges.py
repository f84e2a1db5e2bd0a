"""From how a tensor's values are spread to the range that its integers cover. Pure."""

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.graph.quantization.calibration.histogram import BINS, Histogram
from edgemodel_compressor.graph.quantization.recipe import CalibrationMethod

PERCENTILE = 99.99
"""Share of the values that the range covers, half of the rest is cut on each side."""
_LEVELS = 255
_CANDIDATES = 128

Range = tuple[float, float]


def range_of(histogram: Histogram, method: CalibrationMethod) -> Range:
    """(lowest, highest) that integers shall represent; always within the extremes seen, and around zero."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if method == "Percentile":
        inner = _percentile(histogram)
    elif method == "Entropy":
        threshold = _entropy_threshold(histogram)
        inner = (-threshold, threshold)
    else:
        inner = (low, high)
    return min(0.0, max(low, inner[0])), max(0.0, min(high, inner[1]))


def _percentile(histogram: Histogram) -> Range:
    counts = histogram.counts.astype(np.float64)
    counts[BINS // 2] += histogram.zeros
    total = counts.sum()
    if not total:
        return 0.0, 0.0
    cut = total * (100 - PERCENTILE) / 200
    below = np.cumsum(counts)
    above = np.cumsum(counts[::-1])
    step = 2 * histogram.limit / BINS
    first, last = int(np.searchsorted(below, cut, "right")), int(np.searchsorted(above, cut, "right"))
    return -histogram.limit + first * step, histogram.limit - last * step


def _entropy_threshold(histogram: Histogram) -> float:
    """The clip of |x| whose quantized distribution diverges least from the one seen (Migacz, GTC 2017).

    Distributions of both signs share the levels, so that each has half of them.
    """
    half = BINS // 2
    magnitudes = (histogram.counts[half:] + histogram.counts[:half][::-1]).astype(np.float64)
    levels = _LEVELS if histogram.low >= 0 or histogram.high <= 0 else _LEVELS // 2
    used = int(np.flatnonzero(magnitudes)[-1]) + 1 if magnitudes.any() else 0
    if used <= levels:
        return histogram.limit
    ends = np.unique(np.linspace(levels, used, _CANDIDATES).astype(np.int64))
    divergence = [_divergence(magnitudes[:end], float(magnitudes[end:used].sum()), levels) for end in ends]
    return float(ends[int(np.argmin(divergence))]) * histogram.limit / half


def _divergence(kept: NDArray[np.float64], clipped: float, levels: int) -> float:
    """KL(P ‖ Q): P is ``kept`` with all that is ``clipped`` in its last bin, Q what ``levels`` steps make of it."""
    p = kept.copy()
    p[-1] += clipped
    starts = np.arange(levels) * kept.size // levels
    members = np.diff(np.append(starts, kept.size))
    sums = np.add.reduceat(kept, starts)
    filled = np.add.reduceat((kept > 0).astype(np.float64), starts)
    spread = np.divide(sums, filled, out=np.zeros_like(sums), where=filled > 0)
    q = np.repeat(spread, members) * (kept > 0)
    p, q = p / p.sum(), q / max(q.sum(), 1.0)
    seen = p > 0
    # A last bin that holds nothing but what was clipped has no counterpart in Q: a small one keeps it comparable.
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))))
