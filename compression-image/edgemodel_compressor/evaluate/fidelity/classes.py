"""A list of scores of which the best names a class, or the class itself."""

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import (
    Answers,
    Fidelity,
    floats,
    is_distribution,
    same_shapes,
    worst,
)
from edgemodel_compressor.evaluate.fidelity.values import values

UNDECIDED = 0.01
"""Where the original prefers its class by less probability than this, the other is as right."""
CLOSENESS = 0.1
"""Weight of the scores' own error: an R² of 0.9 counts as one class in a hundred that has changed."""


def classes(original: Answers, candidate: Answers) -> Fidelity:
    """The share of samples of the same class; with less weight, how close the scores behind it are."""
    if original[0].dtype.kind != "f":
        same = np.array([np.array_equal(o, c) for o, c in zip(original, candidate, strict=True)], float)
        return Fidelity(same, f"of {len(same)} samples, {int((same < 1).sum())} changed their class")
    if not same_shapes(original, candidate):
        return values(original, candidate)
    before, after = probabilities(original, original), probabilities(candidate, original)
    first, second = before.argmax(axis=1), after.argmax(axis=1)
    rows = np.arange(len(before))
    changed = first != second
    margin = before[rows, first] - before[rows, second]
    moved = np.abs(after - before).max(initial=0.0)
    words = (
        f"of {len(before)} samples, {int(changed.sum())} changed their class; the largest score moved by {moved:.2g}"
    )
    close = values(_relative(original), _relative(candidate), floor=0.02)
    return worst(
        Fidelity(1.0 - (changed & (margin > UNDECIDED)), words),
        Fidelity(1.0 - CLOSENESS * np.minimum(1.0 - close.series, 1 / CLOSENESS), words),
    )


def probabilities(answers: Answers, original: Answers) -> NDArray[np.float64]:
    """(samples, classes): the answers themselves where the original's are probabilities, else their softmax."""
    rows = np.stack([floats(array).ravel() for array in answers])
    if is_distribution(original):
        return rows
    powers: NDArray[np.float64] = np.exp(rows - rows.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _relative(answers: Answers) -> list[NDArray[np.float64]]:
    """Without what all scores of a sample share, which changes no class and no probability; as one channel."""
    return [(floats(array) - floats(array).mean()).ravel() for array in answers]
