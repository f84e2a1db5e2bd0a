"""The split of a dataset into a part that calibrates and a part that judges. They never share a sample."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 20_150_608

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Indices of samples, each ascending; together all of them, no one twice."""

    calibration: Indices
    evaluation: Indices


def split(samples: int, labels: NDArray[np.int64] | None, most: int) -> Split:
    """Half of each class calibrates, at most ``most`` samples in all; everything else evaluates.

    Deterministic, so that the same dataset always gives the same model and the same figures.

    Raises:
        ValueError: there are fewer than two samples, or ``most`` is less than one.
    """
    if samples < 2 or most < 1:
        raise ValueError(f"cannot split {samples} samples with at most {most} to calibrate")
    order = np.random.default_rng(SEED).permutation(samples)
    classes = np.zeros(samples, np.int64) if labels is None else labels
    # The rank of a sample within its class, as a share of the class: taking the lowest shares first takes
    # from every class in proportion.
    share = np.empty(samples)
    for label in np.unique(classes):
        members = order[classes[order] == label]
        share[members] = np.arange(len(members)) / len(members)
    half = np.flatnonzero(share < 0.5)
    ranked = half[np.lexsort((half, share[half]))]
    # A class of one sample has only a share of 0: leave at least half of all samples to evaluate.
    count = min(most, len(ranked), samples // 2)
    calibration = np.sort(ranked[:count])
    evaluation = np.setdiff1d(np.arange(samples), calibration)
    return Split(calibration, evaluation)
