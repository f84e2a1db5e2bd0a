"""How far a measured figure may be off: 95 % intervals of shares (Wilson, 1927) and of means."""

import math

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution: two-sided 95 %."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share that was seen as ``successes`` of ``n``: (low, high), within 0 and 1.

    Raises:
        ValueError: ``n`` is less than one, or ``successes`` is not between 0 and ``n``.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share")
    share = successes / n
    spread = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / spread
    half = _Z / spread * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == n else min(1.0, middle + half)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of ``values`` (n,), by the normal distribution; no width for one value.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("there are no values to take the mean of")
    mean = float(values.mean())
    half = _Z * standard_error(values)
    return mean - half, mean + half


def standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of ``values`` (n,); 0 for less than two."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
