"""Arithmetic, comparison and logic, element by element with broadcasting."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from edgemodel_compressor.train.network.dtypes import torch_dtype
from edgemodel_compressor.train.network.node import Build, Node, Run, plain


def _variadic(function: Callable[[Tensor, Tensor], Tensor]) -> Build:
    def run(*tensors: Tensor) -> Tensor:
        return reduce(function, tensors)

    return plain(run)


def _mean(*tensors: Tensor) -> Tensor:
    return reduce(torch.add, tensors) / len(tensors)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided as C divides them."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    """The result has the type of the base, whatever the exponent's."""
    return torch.pow(base, exponent).to(base.dtype)


def _modulo(node: Node) -> Run:
    return torch.fmod if node.flag("fmod", False) else torch.remainder


def _clip(node: Node) -> Run:
    if node.opset < 11:
        low, high = node.number("min", -float("inf")), node.number("max", float("inf"))
        return lambda x: torch.clamp(x, low, high)

    def run(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        if low is None and high is None:
            return x
        return torch.clamp(x, None if low is None else low.item(), None if high is None else high.item())

    return run


def _is_infinite(node: Node) -> Run:
    negative, positive = node.flag("detect_negative", True), node.flag("detect_positive", True)
    return lambda x: (torch.isneginf(x) & negative) | (torch.isposinf(x) & positive)


def _cast(node: Node) -> Run:
    dtype = torch_dtype(node.integer("to", 0))
    return lambda x: x.to(dtype)


OPERATORS: dict[str, Build] = {
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Add": plain(torch.add),
    "And": plain(torch.logical_and),
    "Asin": plain(torch.asin),
    "Atan": plain(torch.atan),
    "Cast": _cast,
    "CastLike": plain(lambda x, like: x.to(like.dtype)),
    "Ceil": plain(torch.ceil),
    "Clip": _clip,
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Div": plain(_divide),
    "Equal": plain(torch.eq),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "IsInf": _is_infinite,
    "IsNaN": plain(torch.isnan),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Log": plain(torch.log),
    "Max": _variadic(torch.maximum),
    "Mean": plain(_mean),
    "Min": _variadic(torch.minimum),
    "Mod": _modulo,
    "Mul": plain(torch.mul),
    "Neg": plain(torch.neg),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "Pow": plain(_power),
    "Reciprocal": plain(torch.reciprocal),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Sqrt": plain(torch.sqrt),
    "Sub": plain(torch.sub),
    "Sum": _variadic(torch.add),
    "Tan": plain(torch.tan),
    "Where": plain(torch.where),
    "Xor": plain(torch.logical_xor),
}
