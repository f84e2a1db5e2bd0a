"""How the values of one tensor are spread, in bounded memory however many are seen."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BINS = 8192
"""Over both signs. At least a quarter of them covers the values seen, because the limit grows by doubling."""
_PIECE = 1 << 15
"""Values counted at once: what is calculated of so many stays in a CPU's cache."""
FORBIDDING = 1e4
"""Scores as large as this are not measured by anything: they are what masks of attention forbid a place with."""


@dataclass
class Histogram:
    """Counts (BINS,) over [-limit, limit], and the exact extremes.

    ``limit`` is a power of two, so that growing it merges neighbouring bins exactly: the order of the values makes no
    difference.
    """

    low: float = 0.0
    high: float = 0.0
    limit: float = 0.0
    zeros: int = 0
    """Exact zeros, which every range represents; they are not in ``counts``."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    empty: bool = True
    infinite: bool = False
    """Whether one of the values was an infinity."""

    @property
    def masks(self) -> bool:
        """Whether the tensor holds a mask: its steps would be so wide that all else is rounded to nothing."""
        return self.infinite or max(-self.low, self.high) >= FORBIDDING

    def add(self, values: NDArray[np.floating]) -> None:
        """Count ``values``, of any shape; what is not finite is left out."""
        flat = values.astype(np.float32, copy=False).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite(low) or not np.isfinite(high):
            self.infinite = self.infinite or bool(np.isinf(flat).any())
            self.add(flat[np.isfinite(flat)])
            return
        self.low, self.high = (low, high) if self.empty else (min(self.low, low), max(self.high, high))
        self.empty = False
        zeros = flat.size - int(np.count_nonzero(flat))
        self.zeros += zeros
        if zeros == flat.size:
            return
        self._grow(max(-low, high))
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE].astype(np.float64)
            places = ((piece + self.limit) * (BINS / (2 * self.limit))).astype(np.int64)
            self.counts += np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
        # To count all, and take out the zeros again, which lie in this bin, takes half as long as to leave them out.
        self.counts[BINS // 2] -= zeros

    def _grow(self, reach: float) -> None:
        if self.limit == 0:
            self.limit = float(2.0 ** np.ceil(np.log2(reach)))
        while self.limit < reach:
            quarter = BINS // 4
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[quarter : quarter + merged.size] = merged
            self.limit *= 2
