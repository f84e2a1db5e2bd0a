"""What a comparison says, and what all comparisons need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.onnxmodel.runtime import Array

Answers = Sequence[Array]
"""One output: an array per sample, whatever its shape; those of one model may differ in length."""
Floats = NDArray[np.float64]
Series = NDArray[np.float64]
"""One number per sample, (samples,)."""


@dataclass(frozen=True)
class Fidelity:
    """``series`` holds 1 for each sample that is answered as by the original, and less, even below 0, for others."""

    series: Series
    words: str
    """What changed, as part of a sentence."""
    broken: bool = False
    """The answers no longer depend on the input as the original's do: no objective makes that good."""

    @property
    def value(self) -> float:
        """The mean, within 0 and 1."""
        return 0.0 if self.broken else float(np.clip(self.series.mean(), 0.0, 1.0)) if len(self.series) else 1.0


def worst(*found: Fidelity) -> Fidelity:
    """The one of the least value, the first of equal ones."""
    return min(found, key=lambda item: item.value)


def same_shapes(original: Answers, candidate: Answers) -> bool:
    """Whether all arrays of both models have one shape."""
    return len({array.shape for array in (*original, *candidate)}) == 1


def floats(array: Array) -> Floats:
    """``array`` to calculate with: 64 bits, and what is no number becomes one that is far off."""
    return np.nan_to_num(array.astype(np.float64), nan=1e6, posinf=1e6, neginf=-1e6)


def is_distribution(answers: Answers) -> bool:
    """Whether each row along the last axis is a distribution: nothing below 0, and a sum of 1."""
    return all(
        array.ndim
        and array.dtype.kind == "f"
        and array.shape[-1] > 1
        and bool((array >= -1e-6).all())
        and bool(np.allclose(array.sum(axis=-1, dtype=np.float64), 1.0, atol=2e-2))
        for array in answers
    )
