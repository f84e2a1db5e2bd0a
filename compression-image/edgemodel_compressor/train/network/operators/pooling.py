"""Pools, sliding and global."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run, plain
from edgemodel_compressor.train.network.operators.padding import pad_sides, read_padding

_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEANS: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


def _fits(begins: list[int], ends: list[int], kernel: list[int]) -> bool:
    """Whether torch pads like that by itself: the same on both sides, and at most half a window."""
    return begins == ends and all(2 * size <= width for size, width in zip(begins, kernel, strict=True))


def _maximum(node: Node) -> Run:
    if node.has_output(1):
        raise node.refuse("the positions of the maxima are an output")
    kernel = node.integers("kernel_shape") or []
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    strides, dilations = node.integers("strides") or ones, node.integers("dilations") or ones
    padding, ceil = read_padding(node), node.flag("ceil_mode", False)
    function = _MAXIMA[len(kernel)]

    def run(x: Tensor) -> Tensor:
        begins, ends = padding.sides(x.shape[2:], kernel, strides, dilations)
        if not _fits(begins, ends, kernel):
            x, begins = pad_sides(x, begins, ends, -torch.inf), zeros
        return function(x, kernel, strides, begins, dilations, ceil)

    return run


def _mean(node: Node) -> Run:
    kernel = node.integers("kernel_shape") or []
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    strides = node.integers("strides") or ones
    padding, ceil = read_padding(node), node.flag("ceil_mode", False)
    count_padding = node.flag("count_include_pad", False)
    function, area = _MEANS[len(kernel)], prod(kernel)
    if any(size != 1 for size in node.integers("dilations") or ones):
        raise node.refuse("its window is dilated")

    def run(x: Tensor) -> Tensor:
        begins, ends = padding.sides(x.shape[2:], kernel, strides, ones)
        if _fits(begins, ends, kernel):
            return function(x, kernel, strides, begins, ceil, count_padding)
        sums = function(pad_sides(x, begins, ends, 0.0), kernel, strides, zeros, ceil) * area
        inside = pad_sides(torch.ones_like(x[:1, :1]), begins, ends, float(count_padding))
        return sums / (function(inside, kernel, strides, zeros, ceil) * area)

    return run


def _global_mean(x: Tensor) -> Tensor:
    return x.mean(dim=list(range(2, x.ndim)), keepdim=True)


def _global_maximum(x: Tensor) -> Tensor:
    return x.amax(dim=list(range(2, x.ndim)), keepdim=True)


OPERATORS: dict[str, Build] = {
    "AveragePool": _mean,
    "GlobalAveragePool": plain(_global_mean),
    "GlobalMaxPool": plain(_global_maximum),
    "MaxPool": _maximum,
}
