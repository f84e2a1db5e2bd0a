"""Whether answers still follow the input as the original's do, whatever they are: the test no metric may skip."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity, floats, same_shapes

MIN_CORRELATION = 0.5
MIN_SLOPE, MAX_SLOPE = 0.4, 2.5
"""By how much answers move where the original's move by one."""
NO_CORRELATION = 0.1
"""Nothing of the original's dependence on the input is left below this."""
MIN_SPREAD = 1e-4
"""Of its size: what varies less from sample to sample is taken for constant."""


@dataclass(frozen=True)
class Dependence:
    """How the answers of a candidate move with those of the original, from sample to sample; both 1 for a copy."""

    correlation: float
    slope: float

    @property
    def is_none(self) -> bool:
        """Whether nothing is left of it."""
        return self.correlation < NO_CORRELATION

    def fault(self, most_slope: float = MAX_SLOPE) -> str | None:
        """What is wrong with it, as part of a sentence; None where the answers follow the original's."""
        if self.is_none:
            return "its answers no longer depend on the input as the original's do"
        if self.correlation < MIN_CORRELATION:
            return f"its answers hardly follow the original's (correlation {self.correlation:.2f})"
        if not MIN_SLOPE <= self.slope <= most_slope:
            return f"its answers move {self.slope:.2g} times as much as the original's"
        return None

    def applied_to(self, found: Fidelity) -> Fidelity:
        """``found``; without any value where the answers have come loose."""
        fault = self.fault()
        if fault is None:
            return found
        return replace(found, series=np.minimum(found.series, 0.0), words=fault, broken=self.is_none)


def dependence(original: Answers, candidate: Answers) -> Dependence:
    """Correlation and slope of the candidate's deviations from its mean on the original's, over all numbers.

    Means are those of each number over the samples, so that what depends on the position alone counts for nothing;
    where lengths differ, of each channel.
    """
    if original[0].dtype.kind != "f" or len(original) < 2:
        return Dependence(1.0, 1.0)
    pairs = [
        (_rows(o), _rows(c))
        for o, c in zip(original, candidate, strict=True)
        if o.shape == c.shape and o.size and o.ndim
    ]
    if len(pairs) < 2 or len({o.shape[1] for o, _ in pairs}) > 1:
        return Dependence(1.0, 1.0)
    fixed = same_shapes(original, candidate)
    means = [_mean([pair[side] for pair in pairs], fixed) for side in (0, 1)]
    own = other = both = size = 0.0
    for o, c in pairs:
        a, b = o - means[0], c - means[1]
        own, other, both = own + float((a * a).sum()), other + float((b * b).sum()), both + float((a * b).sum())
        size += float((o * o).sum())
    if own <= MIN_SPREAD**2 * size:
        return Dependence(1.0, 1.0)
    return Dependence(both / math.sqrt(own * other) if other > 1e-12 * own else 0.0, both / own)


def _rows(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """(positions, channels): the last axis are channels."""
    return floats(array).reshape(-1, array.shape[-1])


def _mean(arrays: list[NDArray[np.float64]], fixed: bool) -> NDArray[np.float64]:
    if fixed:
        total = np.zeros_like(arrays[0])
        for array in arrays:
            total += array
        return total / len(arrays)
    every = np.concatenate(arrays)
    mean: NDArray[np.float64] = every.mean(axis=0)
    return mean
