"""Slices, gathers and scatters. Negative indices count from the end."""

import torch
from torch import Tensor

from edgemodel_compressor.train.network.dtypes import ints
from edgemodel_compressor.train.network.node import Build, Node, Run, plain

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    firsts, limits = ints(starts), ints(ends)
    over = list(range(len(firsts))) if axes is None else ints(axes)
    strides = [1] * len(firsts) if steps is None else ints(steps)
    index = [slice(None)] * x.ndim
    for axis, first, limit, stride in zip(over, firsts, limits, strides, strict=True):
        if stride > 0:
            index[axis] = slice(first, limit, stride)
        else:
            chosen = range(*slice(first, limit, stride).indices(x.shape[axis]))
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x[tuple(index)]


def _from_start(indices: Tensor, size: int) -> Tensor:
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _gather(node: Node) -> Run:
    given = node.integer("axis", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        axis = given % x.ndim
        chosen = x.index_select(axis, _from_start(indices.reshape(-1), x.shape[axis]))
        return chosen.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])

    return run


def _gather_elements(node: Node) -> Run:
    axis = node.integer("axis", 0)
    return lambda x, indices: x.gather(axis, _from_start(indices, x.shape[axis]))


def _positions(x: Tensor, indices: Tensor, skip: int = 0) -> tuple[Tensor, ...]:
    """One index tensor per axis of ``x`` from axis ``skip`` on, as deep as the last axis of ``indices``."""
    return tuple(
        _from_start(part, x.shape[skip + axis]) for axis, part in enumerate(indices.to(torch.int64).unbind(-1))
    )


def _gather_nd(node: Node) -> Run:
    batch_axes = node.integer("batch_dims", 0)

    def run(x: Tensor, indices: Tensor) -> Tensor:
        found = _positions(x, indices, batch_axes)
        rank = indices.ndim - 1
        batches = tuple(
            torch.arange(x.shape[axis]).reshape([-1 if at == axis else 1 for at in range(rank)])
            for axis in range(batch_axes)
        )
        return x[batches + found]

    return run


def _scatter_nd(node: Node) -> Run:
    reduction = node.text("reduction", "none")
    if reduction not in ("none", "add"):
        raise node.refuse(f"its reduction is {reduction!r}")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        return x.index_put(_positions(x, indices), updates, accumulate=reduction == "add")

    return run


def _scatter_elements(node: Node) -> Run:
    axis, reduction = node.integer("axis", 0), node.text("reduction", "none")

    def run(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        positions = _from_start(indices, x.shape[axis])
        if reduction == "none":
            return x.scatter(axis, positions, updates)
        return x.scatter_reduce(axis, positions, updates, _REDUCTIONS[reduction])

    return run


def _top(node: Node) -> Run:
    axis, largest = node.integer("axis", -1), node.flag("largest", True)

    def run(x: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        (count,) = ints(k)
        # Of equal values the first ones come first, which topk does not promise.
        values, positions = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), positions.narrow(axis, 0, count)

    return run


OPERATORS: dict[str, Build] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Slice": plain(_slice),
    "TopK": _top,
}
