"""Convolutions in one, two and three dimensions, with groups."""

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run
from edgemodel_compressor.train.network.operators.padding import pad_sides, read_padding

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def _convolution(node: Node) -> Run:
    padding, group = read_padding(node), node.integer("group", 1)
    given_strides, given_dilations = node.integers("strides"), node.integers("dilations")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        ones = [1] * len(kernel)
        strides, dilations = given_strides or ones, given_dilations or ones
        begins, ends = padding.sides(x.shape[2:], kernel, strides, dilations)
        if begins != ends:
            x, begins = pad_sides(x, begins, ends, 0.0), [0] * len(kernel)
        if group > 1 and len(kernel) == 2:
            x = _channels_last(x)
        return _CONVOLUTIONS[len(kernel)](x, weight, bias, strides, begins, dilations, group)

    return run


def _channels_last(x: Tensor) -> Tensor:
    """``x`` (N, C, H, W) with its channels side by side in memory: gradients of depthwise convolutions over small maps
    are several times faster so. By permutation, because ``torch.func.vmap`` knows no memory formats."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _transposed(node: Node) -> Run:
    padding, group = read_padding(node), node.integer("group", 1)
    given_strides, given_dilations = node.integers("strides"), node.integers("dilations")
    given_extra, wanted = node.integers("output_padding"), node.integers("output_shape")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        kernel = weight.shape[2:]
        rank = len(kernel)
        ones, zeros = [1] * rank, [0] * rank
        strides, dilations, extra = given_strides or ones, given_dilations or ones, given_extra or zeros
        begins, ends = padding.sides(x.shape[2:], kernel, strides, dilations)
        full = [
            stride * (size - 1) + more + (width - 1) * dilation + 1
            for size, stride, more, width, dilation in zip(x.shape[2:], strides, extra, kernel, dilations, strict=True)
        ]
        if wanted is not None or padding.rule.startswith("SAME"):
            sizes = wanted or [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
            totals = [whole - size for whole, size in zip(full, sizes, strict=True)]
            small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
            begins, ends = (small, large) if padding.rule == "SAME_UPPER" else (large, small)
        function = _TRANSPOSED[rank]
        if begins == ends and min(begins) >= 0:
            return function(x, weight, bias, strides, begins, extra, group, dilations)
        y = function(x, weight, bias, strides, zeros, extra, group, dilations)
        # Negative padding is cropping.
        return pad_sides(y, [-size for size in begins], [-size for size in ends], 0.0)

    return run


def _depth_to_space(node: Node) -> Run:
    block, columns_first = node.integer("blocksize", 1), node.text("mode", "DCR") == "DCR"

    def run(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        kept = channels // block**2
        if not columns_first:
            return functional.pixel_shuffle(x, block)
        y = x.reshape(batch, block, block, kept, height, width).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(batch, kept, height * block, width * block)

    return run


def _space_to_depth(node: Node) -> Run:
    block, order = node.integer("blocksize", 1), (0, 3, 5, 1, 2, 4)
    if node.text("mode", "DCR") == "CRD":
        order = (0, 1, 3, 5, 2, 4)

    def run(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        y = x.reshape(batch, channels, height // block, block, width // block, block).permute(order)
        return torch.reshape(y, (batch, channels * block**2, height // block, width // block))

    return run


OPERATORS: dict[str, Build] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
