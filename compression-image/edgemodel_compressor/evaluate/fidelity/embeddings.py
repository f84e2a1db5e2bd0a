"""Vectors that are compared with one another: their direction, and whose neighbours they are."""

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity, floats, worst

MIN_NEIGHBOURS = 5
MAX_NEIGHBOURS = 2000
TIE = 0.05
"""Another neighbour is as good, where it is further by no more than this share of the distance to a usual sample."""


def embeddings(original: Answers, candidate: Answers) -> Fidelity:
    """The mean cosine to the original's vectors, or the share of samples that keep their nearest neighbour."""
    cosines = np.array([_cosine(o, c) for o, c in zip(original, candidate, strict=True)])
    words = f"the mean cosine to the original's is {cosines.mean():.4f}, the least {cosines.min():.4f}"
    before, after = _pooled(original), _pooled(candidate)
    if len(before) < MIN_NEIGHBOURS or before.shape != after.shape:
        return Fidelity(cosines, words)
    kept = _neighbours_kept(before[:MAX_NEIGHBOURS], after[:MAX_NEIGHBOURS])
    words += f"; of {len(kept)} samples, {int((kept < 1).sum())} have another nearest neighbour"
    return worst(Fidelity(cosines, words), Fidelity(kept, words))


def _cosine(original: NDArray[np.generic], candidate: NDArray[np.generic]) -> float:
    if original.shape != candidate.shape:
        return 0.0
    a, b = floats(original).ravel(), floats(candidate).ravel()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / scale, -1.0, 1.0)) if scale else float(np.array_equal(a, b))


def _pooled(answers: Answers) -> NDArray[np.float64]:
    """(samples, features), of length one: the mean over all positions."""
    rows = [floats(array).reshape(-1, array.shape[-1] if array.ndim else 1).mean(axis=0) for array in answers]
    if len({len(row) for row in rows}) > 1:
        return np.zeros((0, 0))
    matrix = np.stack(rows)
    pooled: NDArray[np.float64] = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return pooled


def _neighbours_kept(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    near, now = before @ before.T, after @ after.T
    usual = near.mean(axis=1)
    for matrix in (near, now):
        np.fill_diagonal(matrix, -np.inf)
    rows = np.arange(len(near))
    best, chosen = near.max(axis=1), near[rows, now.argmax(axis=1)]
    kept: NDArray[np.float64] = (chosen >= best - TIE * (best - usual) - 1e-9).astype(np.float64)
    return kept
