"""Operators that compute each element from those at its place."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgemodel_server.model.rows.sizes import Size, depends_on_batch, divide, equal, unknown
from edgemodel_server.model.rows.tensors import (
    LARGEST_VALUE,
    Call,
    MixesError,
    Tensor,
    axis_of,
    broadcast,
    by_rows,
    shared,
    valued,
)

_ONE_INPUT = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
_SEVERAL_INPUTS = [
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Clip",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]
_ONE_INPUT_OF_MICROSOFT = ["Gelu", "QuickGelu"]
_SEVERAL_INPUTS_OF_MICROSOFT = ["BiasGelu", "FastGelu"]
_QUANTIZED = ["QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"]


def _divided(one: Any, other: Any) -> Any:
    if isinstance(one, Size) or isinstance(other, Size):
        return None if isinstance(one, float) or isinstance(other, float) else divide(one, other)
    if other == 0:
        return None
    if isinstance(one, int) and isinstance(other, int):
        return abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
    return one / other


def _compared(one: Any, other: Any) -> Any:
    return equal(one, other)


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*items: Any) -> Any:
        if len(set(items)) == 1:
            return items[0]
        return None if any(isinstance(item, Size) for item in items) else function(items)

    return choose


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*items: Any) -> Any:
        return None if any(isinstance(item, Size) for item in items) else function(*items)

    return apply


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*items: Any) -> Any:
        if any(isinstance(item, Size) for item in items):
            items = tuple(int(item) if isinstance(item, float) and item.is_integer() else item for item in items)
            if any(isinstance(item, float) for item in items):
                return None
        return function(*items)

    return apply


def _whole(item: Any, function: Callable[[float], int]) -> Any:
    return item if isinstance(item, Size) else float(function(item))


def _chosen(condition: Any, one: Any, other: Any) -> Any:
    if isinstance(condition, Size):
        return one if one is other or equal(one, other) else None
    return one if condition else other


_SIZE_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "Identity": lambda item: item,
    "Add": _arithmetic(lambda one, other: one + other),
    "Sub": _arithmetic(lambda one, other: one - other),
    "Mul": _arithmetic(lambda one, other: one * other),
    "Neg": lambda item: -item,
    "Div": _divided,
    "Mod": _numeric(lambda one, other: one % other if other else None),
    "Min": _extreme(min),
    "Max": _extreme(max),
    "Equal": _compared,
    "Greater": _numeric(lambda one, other: one > other),
    "GreaterOrEqual": _numeric(lambda one, other: one >= other),
    "Less": _numeric(lambda one, other: one < other),
    "LessOrEqual": _numeric(lambda one, other: one <= other),
    "And": _numeric(lambda one, other: bool(one and other)),
    "Or": _numeric(lambda one, other: bool(one or other)),
    "Not": _numeric(lambda item: not item),
    "Floor": lambda item: _whole(item, math.floor),
    "Ceil": lambda item: _whole(item, math.ceil),
    "Abs": _numeric(abs),
    "Where": _chosen,
}
"""How sizes are computed with. None: the result is not known."""

_INTEGER_TYPES = {2, 3, 4, 5, 6, 7, 12, 13}
_FLOAT_TYPES = {1, 10, 11, 16}
_BOOL_TYPE = 9


def elementwise(call: Call) -> list[Tensor]:
    """An operator of one input or more whose shapes are brought together; sizes are computed with."""
    if call.attribute("axis") is not None and call.opset < 7:
        raise MixesError("brings shapes together in a way of old")
    found = call.given()
    operator = _SIZE_ARITHMETIC.get(call.node.operator)
    if operator and all(tensor.value is not None for tensor in found):
        return [_computed(operator, found)]
    if call.node.operator == "Identity" and len(found) == 1:
        return found
    return [broadcast(found)]


def cast(call: Call) -> list[Tensor]:
    """Elements of another type. Sizes stay what they are; numbers are brought under it."""
    source = call.input(0)
    kind = call.attribute("to")
    if source.value is not None:
        return [_computed(lambda item: _brought_under(item, kind), [source])]
    return [Tensor(source.shape, source.rows, numbers=source.all_numbers if kind in _INTEGER_TYPES else None)]


def cast_like(call: Call) -> list[Tensor]:
    """Elements of the type of another tensor, whose elements do not matter."""
    return [_plain(call.input(0))]


def _plain(source: Tensor) -> Tensor:
    """By the same rows, but of elements of which nothing is known."""
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    return Tensor(source.shape, source.rows)


def _brought_under(item: Any, kind: Any) -> Any:
    if isinstance(item, Size):
        return item if kind in _INTEGER_TYPES | _FLOAT_TYPES else None
    if kind in _INTEGER_TYPES:
        return int(item) if math.isfinite(item) else None
    if kind in _FLOAT_TYPES:
        return float(item)
    return bool(item) if kind == _BOOL_TYPE else None


def _computed(operator: Callable[..., Any], tensors: list[Tensor]) -> Tensor:
    """The values of an elementwise operator, each a number, a size or unknown."""
    try:
        arrays = np.broadcast_arrays(*(tensor.value for tensor in tensors if tensor.value is not None))
    except ValueError as error:
        raise MixesError("has inputs that do not fit together") from error
    if arrays[0].size > LARGEST_VALUE:
        return broadcast(tensors)
    result = np.empty(arrays[0].shape, dtype=object)
    for index in np.ndindex(arrays[0].shape):
        items = [array[index] for array in arrays]
        try:
            value = operator(*items)
        except (ArithmeticError, TypeError, ValueError):
            value = None
        result[index] = unknown(batch=any(map(depends_on_batch, items))) if value is None else value
    return valued(result)


def quantized_elementwise(call: Call) -> list[Tensor]:
    """``QLinear…`` of elements: each operand is followed by its scale and zero point, and at last the result's."""
    pairs = call.node.operator in ("QLinearAdd", "QLinearMul")
    operands = [0, 3] if pairs else [0]
    for index in range(len(call.inputs)):
        if index not in operands and call.has(index):
            call.check_shared(index)
            check_single(call, index)
    return [broadcast([call.input(index) for index in operands])]


def check_single(call: Call, index: int) -> None:
    """Raise MixesError unless input ``index`` is left out or one number."""
    if call.has(index):
        shape = call.input(index).dimensions
        if len(shape) > 1 or any(size != 1 for size in shape):
            raise MixesError(f"has more than one number in input {index}")


def quantize(call: Call) -> list[Tensor]:
    """QuantizeLinear and DequantizeLinear: by one scale, or one for each index of a dimension."""
    source = call.input(0)
    call.check_shared(1, 2)
    scale = call.input(1)
    if source.rows is None:
        return [broadcast([source])]
    if call.attribute("block_size", 0):
        raise MixesError("has scales by block")
    sizes = scale.dimensions
    if len(sizes) == 1 and sizes[0] != 1 and axis_of(call.attribute("axis", 1), source.rank) == source.rows.axis:
        raise MixesError("has a scale for each row of the batch")
    if len(sizes) > 1:
        raise MixesError("has scales by block")
    return [by_rows(source.dimensions, source.rows)]


def dropout(call: Call) -> list[Tensor]:
    """Does nothing outside of training."""
    if call.has(2) and (call.input(2).value is None or any(call.numbers(2))):
        raise MixesError("is in training mode, which draws at random")
    source = call.input(0)
    mask = shared(source.dimensions) if source.rows is None else by_rows(source.dimensions, source.rows)
    return [source, mask]


RULES: Mapping[tuple[str, str], Callable[[Call], list[Tensor]]] = {
    **{("", name): elementwise for name in (*_ONE_INPUT, *_SEVERAL_INPUTS)},
    **{("com.microsoft", name): elementwise for name in (*_ONE_INPUT_OF_MICROSOFT, *_SEVERAL_INPUTS_OF_MICROSOFT)},
    **{("com.microsoft", name): quantized_elementwise for name in _QUANTIZED},
    **{(domain, name): quantize for domain in ("", "com.microsoft") for name in ("QuantizeLinear", "DequantizeLinear")},
    ("", "Cast"): cast,
    ("", "CastLike"): cast_like,
    ("", "Dropout"): dropout,
}
