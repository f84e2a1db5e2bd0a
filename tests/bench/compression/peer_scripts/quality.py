"""How good answers are; the same for the peers that validate and for the benchmark that judges them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def quality(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """The share of right classes; for the next character, the inverse of the perplexity. More is better.

    ``scores`` (N, classes) with ``labels`` (N,), or (N, positions, characters) with (N, positions).
    """
    if labels.ndim == 1:
        return float((scores.argmax(-1) == labels).mean())
    scores = scores.astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    logarithms = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return float(np.exp(np.take_along_axis(logarithms, labels[..., None], -1).mean()))
