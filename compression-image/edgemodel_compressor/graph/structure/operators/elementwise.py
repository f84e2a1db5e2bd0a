"""Operators that work on each position by itself, with broadcasting, or along dimensions that they name."""

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from edgemodel_compressor.graph.structure.labels import Axis
from edgemodel_compressor.graph.structure.walk import Axes, Opaque, Walk, attribute, attributes, title

UNARY = (
    "Abs", "Asinh", "Atan", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Dropout", "Elu", "Erf", "Exp",
    "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Mish", "Neg", "Not",
    "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Swish", "Tan", "Tanh",
    "ThresholdedRelu",
)  # fmt: skip
"""With a finite answer to every number: a masked position may hold any, and a product with zero must be zero."""
PARTIAL = ("Acos", "Acosh", "Asin", "Atanh", "Log", "Reciprocal", "Sqrt")
"""Without an answer to some numbers, so that nothing goes of what they see."""
BROADCAST = (
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "Max", "Mean", "Min", "Mul", "Or", "PRelu", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_STRUCTURAL = {"Identity", "Cast"}


def unary(walk: Walk, node: NodeProto) -> None:
    """Output as input. Further inputs (bounds, ratios) are single numbers; a mask as second output is alike."""
    for name in node.input[1:]:
        if name and walk.shapes[name] not in ((), (1,)):
            raise Opaque(f"{title(node)} takes more than a single number beside its data.")
    for name in node.output:
        if name:
            walk.give(name, walk.axes[node.input[0]])
    if node.op_type in _STRUCTURAL and node.input[0] in walk.plain:
        walk.plain.add(node.output[0])


def partial(walk: Walk, node: NodeProto) -> None:
    """Operators of ``PARTIAL``: output as input, and whole."""
    for axis in walk.axes[node.input[0]]:
        walk.labels.pin(axis, f"{title(node)} ({node.op_type}) has no answer to what a masked position may hold.")
    walk.give(node.output[0], walk.axes[node.input[0]])


def broadcast(walk: Walk, node: NodeProto) -> None:
    """Dimensions that meet are united, those of one position stretch."""
    walk.give(node.output[0], broadcast_axes(walk, [walk.axes[name] for name in node.input]))


def divide(walk: Walk, node: NodeProto) -> None:
    """Div, Pow: as ``broadcast``, but a divisor or an exponent stays whole, as masking would make it zero."""
    for axis in walk.axes[node.input[1]]:
        walk.labels.pin(axis, f"{title(node)} divides by it or raises to it.")
    if node.op_type == "Pow":
        exponent = walk.number(node.input[1])
        if exponent is None or any(power <= 0 or power % 1 for power in exponent.astype(np.float64).flat):
            for axis in walk.axes[node.input[0]]:
                walk.labels.pin(axis, f"{title(node)} raises it to a power that zero or less may not have.")
    broadcast(walk, node)


def broadcast_axes(walk: Walk, sides: Sequence[Axes]) -> list[Axis]:
    """The labels of a result, by numpy's rules."""
    rank = max(map(len, sides))
    result = []
    for position in range(-rank, 0):
        meeting = [side[position] for side in sides if len(side) >= -position]
        wide = [axis for axis in meeting if len(axis) > 1] or meeting
        for axis in wide[1:]:
            walk.labels.unite(wide[0], axis)
        result.append(wide[0])
    return result


def normalize(walk: Walk, node: NodeProto) -> None:
    """LayerNormalization, RMSNormalization: what a statistic runs over stays whole."""
    axes = walk.axes[node.input[0]]
    first = attribute(node, "axis", -1) % len(axes)
    _mixed(walk, node, axes[first:])
    broadcast_axes(walk, [walk.axes[name] for name in node.input if name])
    walk.give(node.output[0], axes)
    for name in node.output[1:]:
        if name:
            walk.fix(name, f"It is a statistic of {title(node)}.")


def along(walk: Walk, node: NodeProto) -> None:
    """Softmax and its like: the dimension they run along stays whole; before opset 13 all that follow it, too."""
    axes = walk.axes[node.input[0]]
    modern = walk.opset >= 13
    first = attribute(node, "axis", -1 if modern else 1) % len(axes)
    _mixed(walk, node, axes[first : first + 1] if modern else axes[first:])
    walk.give(node.output[0], axes)


def last_two(walk: Walk, node: NodeProto) -> None:
    """Trilu keeps a triangle of the last two dimensions."""
    axes = walk.axes[node.input[0]]
    _mixed(walk, node, axes[-2:])
    walk.give(node.output[0], axes)


def reduce(walk: Walk, node: NodeProto) -> None:
    """A sum or a mean over a dimension sees every position of it; the others pass."""
    axes = walk.axes[node.input[0]]
    given = attributes(node, "axes") or walk.integers(node, 1)
    if not given and attribute(node, "noop_with_empty_axes", 0):
        walk.give(node.output[0], axes)
        return
    gone = {axis % len(axes) for axis in given} if given else set(range(len(axes)))
    _mixed(walk, node, [axes[index] for index in sorted(gone)])
    single = walk.labels.fixed(1, f"{title(node)} reduces it to one position.")
    if attribute(node, "keepdims", 1):
        walk.give(node.output[0], [single if index in gone else axis for index, axis in enumerate(axes)])
    else:
        walk.give(node.output[0], [axis for index, axis in enumerate(axes) if index not in gone])


def _mixed(walk: Walk, node: NodeProto, axes: Sequence[Axis]) -> None:
    for axis in axes:
        walk.labels.pin(axis, f"{title(node)} ({node.op_type}) computes with all of its positions together.")
