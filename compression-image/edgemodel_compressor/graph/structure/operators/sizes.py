"""Tensors that hold sizes: what Shape returns, and what is cut from it and joined for the next Reshape.

When a dimension shrinks these follow by themselves; so it must be known which dimension each element speaks of, and a
dimension whose size is used as a number stays.
"""

from onnx import NodeProto, TensorProto

from edgemodel_compressor.graph.structure.operators.layout import cuts
from edgemodel_compressor.graph.structure.walk import Size, Walk, attribute, title

TARGETS = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0, "Resize": 3}
"""Operators that build a tensor by the sizes in one of their inputs, and its position."""
_INTEGERS = {TensorProto.INT32, TensorProto.INT64}


def shape(walk: Walk, node: NodeProto) -> None:
    """Shape: one element per dimension."""
    axes = list(walk.axes[node.input[0]])
    walk.sizes[node.output[0]] = list(axes[attribute(node, "start", 0) :][: walk.shapes[node.output[0]][0]])
    walk.fix(node.output[0], f"It counts the dimensions at {title(node)}.")


def constant(walk: Walk, node: NodeProto) -> None:
    """A Constant node that is no tensor of the file: numbers in an attribute."""
    name = node.output[0]
    walk.fix(name, f"It meets the constant {name}, which is not a weight.")
    item = node.attribute[0]
    if item.name in ("value_int", "value_ints"):
        walk.sizes[name] = [item.i] if item.name == "value_int" else list(item.ints)


def follow(walk: Walk, node: NodeProto) -> None:
    """Note what sizes the output of ``node`` holds; where that cannot be said, the dimensions they speak of stay."""
    moved = _moved(walk, node)
    if moved is not None:
        walk.sizes[node.output[0]] = moved
        return
    for position, name in enumerate(node.input):
        if TARGETS.get(node.op_type) != position and node.op_type != "Shape":
            walk.pin_sizes(name, f"{title(node)} computes with its size.")


def _moved(walk: Walk, node: NodeProto) -> list[Size] | None:
    inputs = [walk.sizes.get(name) for name in node.input]
    if not inputs or inputs[0] is None or len(walk.shapes.get(node.output[0], (0, 0))) > 1:
        return None
    first = inputs[0]
    if node.op_type in ("Identity", "Squeeze", "Unsqueeze"):
        return list(first)
    if node.op_type == "Cast" and attribute(node, "to", 0) in _INTEGERS:
        return list(first)
    if node.op_type == "Concat" and all(sizes is not None for sizes in inputs):
        return [size for sizes in inputs for size in sizes or []]
    if node.op_type == "Gather" and len(inputs) > 1 and inputs[1] is not None:
        return [first[index] if isinstance(index, int) else None for index in inputs[1]]
    if node.op_type == "Slice" and all(isinstance(size, int) for sizes in inputs[1:] for size in sizes or [None]):
        (part,) = cuts(walk, node)
        return first[slice(*part.actual)]
    return None
