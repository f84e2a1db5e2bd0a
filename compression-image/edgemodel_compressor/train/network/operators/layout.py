"""Shapes and the order of elements: nothing here calculates."""

from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.dtypes import ints
from edgemodel_compressor.train.network.node import Build, Node, Run, plain

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _reshape(node: Node) -> Run:
    zero_is_a_size = node.flag("allowzero", False)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = ints(shape)
        if not zero_is_a_size:
            sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def _flatten(node: Node) -> Run:
    axis = node.integer("axis", 1)

    def run(x: Tensor) -> Tensor:
        first = axis if axis >= 0 else axis + x.ndim
        # Open in the second axis and not in the first, which is the batch.
        return x.reshape(prod(x.shape[:first]), prod(x.shape[first:]))

    return run


def _transpose(node: Node) -> Run:
    order = node.integers("perm")
    return lambda x: x.permute(order or list(range(x.ndim))[::-1])


def _squeeze(node: Node) -> Run:
    attribute = node.integers("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = attribute if axes is None else ints(axes)
        return x.squeeze() if over is None else x.squeeze(over)

    return run


def _unsqueeze(node: Node) -> Run:
    attribute = node.integers("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        new = (attribute or []) if axes is None else ints(axes)
        rank = x.ndim + len(new)
        for axis in sorted(axis % rank for axis in new):
            x = x.unsqueeze(axis)
        return x

    return run


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, ints(shape)))


def _concat(node: Node) -> Run:
    axis = node.integer("axis", 0)
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: Node) -> Run:
    axis, attribute, count = node.integer("axis", 0), node.integers("split"), len(node.outputs)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        given = attribute if sizes is None else ints(sizes)
        size = -(-x.shape[axis] // count)
        return torch.split_with_sizes(x, given, axis) if given else torch.split(x, size, axis)

    return run


def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(ints(repeats))


def _pad(node: Node) -> Run:
    mode = node.text("mode", "constant")
    if mode not in _PAD_MODES:
        raise node.refuse(f"its mode is {mode!r}")

    def run(x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        sizes = ints(pads)
        count = len(sizes) // 2
        around = [(0, 0)] * x.ndim
        for position, axis in enumerate(ints(axes) if axes is not None else range(count)):
            around[axis] = (sizes[position], sizes[position + count])
        # Only the padded axes at the end: torch reflects and repeats no others.
        while around and around[0] == (0, 0):
            around.pop(0)
        flat = [size for pair in reversed(around) for size in pair]
        if not flat:
            return x
        if mode == "constant":
            return functional.pad(x, flat, value=0.0 if value is None else value.item())
        return functional.pad(x, flat, mode=_PAD_MODES[mode])

    return run


def _dropout(node: Node) -> Run:
    if node.has_output(1):
        raise node.refuse("what it drops is an output")
    # An exported model is there to run: what dropped units in training lets all pass.
    return lambda x, *_: x


def _triangle(node: Node) -> Run:
    function = torch.triu if node.flag("upper", True) else torch.tril
    return lambda x, k=None: function(x, 0 if k is None else k.item())


OPERATORS: dict[str, Build] = {
    "Concat": _concat,
    "Dropout": _dropout,
    "Expand": plain(_expand),
    "Flatten": _flatten,
    "Identity": plain(lambda x: x),
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": plain(_tile),
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
