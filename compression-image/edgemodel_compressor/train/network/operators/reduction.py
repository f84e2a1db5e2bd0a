"""Reductions over axes, which are an attribute or an input as the operator set has it."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgemodel_compressor.train.network.dtypes import ints
from edgemodel_compressor.train.network.node import Build, Node, Run

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduce) -> Build:
    def build(node: Node) -> Run:
        attribute, keep = node.integers("axes"), node.flag("keepdims", True)
        empty_means_none = node.flag("noop_with_empty_axes", False)

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            over = (attribute or []) if axes is None else ints(axes)
            if not over:
                if empty_means_none:
                    return x
                over = list(range(x.ndim))
            return function(x, over, keep)

        return run

    return build


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(dim=axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.mean(dim=axes, keepdim=keep)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keep, dtype=x.dtype)
    return x


def _norm1(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _norm2(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=axes, keepdim=keep)
    return norm


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x, axes, keep).log()


def _sum_of_squares(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


def _extreme_position(function: Callable[[Tensor, int, bool], Tensor]) -> Build:
    def build(node: Node) -> Run:
        axis, keep, last = node.integer("axis", 0), node.flag("keepdims", True), node.flag("select_last_index", False)

        def run(x: Tensor) -> Tensor:
            if last:
                return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
            return function(x, axis, keep)

        return run

    return build


def _cumulative_sum(node: Node) -> Run:
    exclusive, backwards = node.flag("exclusive", False), node.flag("reverse", False)

    def run(x: Tensor, axis: Tensor) -> Tensor:
        (over,) = ints(axis)
        if backwards:
            x = x.flip(over)
        y = x.cumsum(over, dtype=x.dtype)
        if exclusive:
            y = y - x
        return y.flip(over) if backwards else y

    return run


OPERATORS: dict[str, Build] = {
    "ArgMax": _extreme_position(torch.argmax),
    "ArgMin": _extreme_position(torch.argmin),
    "CumSum": _cumulative_sum,
    "ReduceL1": _reduction(_norm1),
    "ReduceL2": _reduction(_norm2),
    "ReduceLogSum": _reduction(_log_sum),
    "ReduceLogSumExp": _reduction(torch.logsumexp),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _reduction(_sum_of_squares),
}
