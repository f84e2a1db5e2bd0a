"""Resize, axis by axis: nearest, linear and cubic interpolation are products of one-dimensional ones."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgemodel_compressor.train.network.dtypes import ints
from edgemodel_compressor.train.network.node import Build, Node, Run

Floats = NDArray[np.float64]

_NEAREST: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
_TRANSFORMATIONS = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"}


def _coordinates(size: int, target: int, scale: float, transformation: str) -> Floats:
    """Where each of ``target`` elements lies among ``size``."""
    x = np.arange(target, dtype=np.float64)
    match transformation:
        case "align_corners":
            # Of a target that is not whole, the corners lie at its own ends.
            return x * (size - 1) / (scale * size - 1) if scale * size != 1 else np.zeros(target)
        case "asymmetric":
            return x / scale
        case "pytorch_half_pixel":
            return (x + 0.5) / scale - 0.5 if target > 1 else np.zeros(1)
        case "half_pixel_symmetric":
            # … and here both ends lose the same.
            centre, adjustment = size / 2, target / (scale * size)
            return centre * (1 - adjustment) + (x + 0.5) / scale - 0.5
        case _:
            return (x + 0.5) / scale - 0.5


@lru_cache(maxsize=256)
def _matrix(size: int, target: int, scale: float, transformation: str, mode: str, nearest: str, cubic: float) -> Tensor:
    """The interpolation along one axis as a matrix (target, size)."""
    at = _coordinates(size, target, scale, transformation)
    if mode == "nearest":
        taps = [(_NEAREST[nearest](at), np.ones(target))]
    elif mode == "linear":
        # Outside, the outermost element continues.
        at = np.clip(at, 0, size - 1)
        low = np.floor(at)
        taps = [(low, 1 - (at - low)), (low + 1, at - low)]
    else:
        low = np.floor(at)
        taps = [(low + offset, _cubic_weight(np.abs(at - low - offset), cubic)) for offset in (-1, 0, 1, 2)]
    matrix = np.zeros((target, size))
    for positions, weights in taps:
        np.add.at(matrix, (np.arange(target), np.clip(positions, 0, size - 1).astype(np.int64)), weights)
    return torch.from_numpy(matrix.astype(np.float32))


def _cubic_weight(distance: Floats, a: float) -> Floats:
    """Keys, 1981."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _resize(node: Node) -> Run:
    mode, nearest = node.text("mode", "nearest"), node.text("nearest_mode", "round_prefer_floor")
    transformation = node.text("coordinate_transformation_mode", "half_pixel")
    cubic = node.number("cubic_coeff_a", -0.75)
    if transformation not in _TRANSFORMATIONS:
        raise node.refuse(f"its coordinates are {transformation!r}")
    if node.flag("antialias", False) or node.flag("exclude_outside", False):
        raise node.refuse("it filters before it samples")
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("it keeps the aspect ratio")
    given_axes = node.integers("axes")

    def run(x: Tensor, _roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        axes = given_axes or list(range(x.ndim))
        if sizes is not None and sizes.numel():
            targets = ints(sizes)
            factors = [target / x.shape[axis] for axis, target in zip(axes, targets, strict=True)]
        elif scales is not None:
            factors = scales.tolist()
            targets = [int(x.shape[axis] * factor) for axis, factor in zip(axes, factors, strict=True)]
        else:
            raise node.refuse("it has neither scales nor sizes")
        for axis, target, factor in zip(axes, targets, factors, strict=True):
            size = x.shape[axis]
            if target == size and factor == 1:
                continue
            matrix = _matrix(size, target, factor, transformation, mode, nearest, cubic)
            x = torch.matmul(x.movedim(axis, -1), matrix.t()).movedim(-1, axis)
        return x

    return run


OPERATORS: dict[str, Build] = {"Resize": _resize}
