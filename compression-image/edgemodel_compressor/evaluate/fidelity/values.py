"""Numbers without bounds, of a regression or a feature map: the error against the original's own spread (1 − R²)."""

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity, floats

FEW_CHANNELS = 16
"""So few have a meaning each, and the worst of them counts; of more, all count alike."""
MAX_CHANNELS = 4096
OTHER_SCALE = 3.0
"""Times the size of others, from which on the indices of an axis are channels of their own."""
RELATIVE_FLOOR = 1e-3
"""Of a channel that hardly varies: errors below this share of its size are none."""
SMALL_CHANNEL = 1e-5
"""Of the size of the usual channel: one that is smaller than this is empty."""

Channels = NDArray[np.float64]
"""One number per channel, (channels,)."""


def values(original: Answers, candidate: Answers, floor: float = 0.0) -> Fidelity:
    """The mean squared error of each channel over the variance of the original's, of the worst channel.

    Errors below ``floor`` are taken for small, however little the original varies.
    """
    axis = channel_axis(original)
    spread = _spread(original, axis, floor)
    noise = np.stack([_noise(o, c, axis, spread) for o, c in zip(original, candidate, strict=True)])
    lost = noise / spread
    each = np.minimum(lost.mean(axis=0), 1e6)
    moved = max(_largest_move(o, c) for o, c in zip(original, candidate, strict=True))
    if len(each) <= FEW_CHANNELS:
        worst = int(each.argmax())
        series, where = 1.0 - lost[:, worst], f" of channel {worst}, the worst," if len(each) > 1 else ""
    else:
        pooled = noise.sum(axis=1) / spread.sum()
        alike = np.minimum(lost, 1.0).mean(axis=1)
        series, where = 1.0 - (alike if alike.mean() > pooled.mean() else pooled), ""
    share = 100 * np.sqrt(max(1.0 - series.mean(), 0.0))
    return Fidelity(
        series, f"the error{where} is {share:.2g}% of the original's own spread; the largest value moved by {moved:.2g}"
    )


def channel_axis(answers: Answers) -> int | None:
    """The axis whose indices are channels: the second of two, else that along which sizes differ most, if they do."""
    first = answers[0]
    if first.ndim < 2 or any(array.ndim != first.ndim for array in answers):
        return None
    if first.ndim == 2 and first.shape[0] == 1:
        return 1 if len({array.shape for array in answers}) == 1 and first.shape[1] > 1 else None
    found, most = None, np.log(OTHER_SCALE)
    for axis in range(first.ndim):
        if len({array.shape[axis] for array in answers}) > 1 or not 1 < first.shape[axis] <= MAX_CHANNELS:
            continue
        sizes = np.sqrt(np.mean([_mean(floats(array) ** 2, axis) for array in answers], axis=0))
        sizes = np.log(np.maximum(sizes, max(sizes.max(initial=0.0), 1e-30) * SMALL_CHANNEL))
        if float(sizes.max() - sizes.min()) >= most:
            found, most = axis, float(sizes.max() - sizes.min())
    return found


def _mean(array: NDArray[np.float64], axis: int | None) -> Channels:
    """Over everything but the channels; of no numbers, 0."""
    others = None if axis is None else tuple(index for index in range(array.ndim) if index != axis)
    if not array.size:
        return np.zeros(1 if axis is None else array.shape[axis])
    return np.atleast_1d(array.mean(axis=others))


def _spread(answers: Answers, axis: int | None, floor: float) -> Channels:
    """The variance of each channel over samples and positions, where it is more than what counts as nothing."""
    arrays = [floats(array) for array in answers if array.size] or [np.zeros(1)]
    power = np.mean([_mean(array**2, axis) for array in arrays], axis=0)
    variance = np.maximum(power - np.mean([_mean(array, axis) for array in arrays], axis=0) ** 2, 0.0)
    nothing = np.maximum(power * RELATIVE_FLOOR**2, np.median(power) * SMALL_CHANNEL**2)
    spread: Channels = np.maximum(np.maximum(variance, nothing), max(floor**2, 1e-24))
    return spread


def _noise(
    original: NDArray[np.generic], candidate: NDArray[np.generic], axis: int | None, spread: Channels
) -> Channels:
    """The squared error of each channel of one sample; of an answer of another length, all of the spread."""
    if original.shape != candidate.shape:
        return spread.copy()
    return _mean((floats(candidate) - floats(original)) ** 2, axis)


def _largest_move(original: NDArray[np.generic], candidate: NDArray[np.generic]) -> float:
    if original.shape != candidate.shape or not original.size:
        return 0.0
    return float(np.abs(floats(candidate) - floats(original)).max())
