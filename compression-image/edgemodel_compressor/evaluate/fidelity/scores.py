"""Probabilities and scores between 0 and 1: their error (Brier), the order they put samples in, what crosses a half."""

import numpy as np

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity, floats, same_shapes, worst
from edgemodel_compressor.evaluate.fidelity.values import values

DECISIONS = 64
"""Up to so many scores per sample are decisions; more are a map, of which most say nothing."""
SMALL, TINY = 0.02, 0.002
"""Scores of decisions, and of maps, that move less than this have not moved."""
UNDECIDED = 0.01
"""A score this close to a half was on neither side."""
MAX_RANKED = 1000


def scores(original: Answers, candidate: Answers) -> Fidelity:
    """The least of: R² of each channel, the order of the samples, and the share of decisions that stay."""
    few = all(array.size <= DECISIONS for array in original)
    close = values(original, candidate, SMALL if few else TINY)
    if not few or not same_shapes(original, candidate):
        return close
    before = np.stack([floats(array).ravel() for array in original])
    after = np.stack([floats(array).ravel() for array in candidate])
    crossed = ((before > 0.5) != (after > 0.5)) & (np.abs(before - 0.5) > UNDECIDED)
    moved = float(np.abs(after - before).max(initial=0.0))
    count, samples = int(crossed.any(axis=1).sum()), len(before)
    words = f"of {samples} samples, {count} crossed a half; the largest score moved by {moved:.2g}"
    found = [Fidelity(close.series, words), Fidelity(1.0 - crossed.mean(axis=1), words)]
    if before.shape[1] == 1 and len(before) > 1:
        found.append(Fidelity(1.0 - _disorder(before[:MAX_RANKED, 0], after[:MAX_RANKED, 0]), words))
    return worst(*found)


def _disorder(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of each sample (n,): by how much it has changed places with others, as a share of what lies between them."""
    gaps = before[:, None] - before[None, :]
    turned = np.abs(gaps) * (gaps * (after[:, None] - after[None, :]) < 0)
    between = float(np.abs(gaps).sum(axis=1).mean())
    return turned.sum(axis=1) / between if between > SMALL * len(before) else np.zeros(len(before))
