"""The split of training samples into a part that trains and a part that says when to stop. Pure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def hold_out(samples: int, labels: NDArray[Any] | None, share: float, seed: int) -> tuple[Indices, Indices]:
    """Indices that train, and about ``share`` of all that validate; both ascending, none in both, none empty.

    With one integer label per sample every class gives in proportion.

    Raises:
        ValueError: there are fewer than two samples.
    """
    if samples < 2:
        raise ValueError(f"cannot hold out a part of {samples} samples")
    order = np.random.default_rng(seed).permutation(samples)
    classes = np.zeros(samples, np.int64)
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iu":
        classes = labels.astype(np.int64)
    # The middle of a sample's place within its class, as a share of the class: the lowest shares of all classes
    # together are a sample of each in proportion.
    place = np.empty(samples)
    for label in np.unique(classes):
        members = order[classes[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    count = min(max(round(share * samples), 1), samples - 1)
    ranked = np.lexsort((order, place))
    return np.sort(ranked[count:]), np.sort(ranked[:count])
