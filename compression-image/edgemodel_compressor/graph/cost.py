"""What a graph costs: multiply-accumulate operations of one run, and parameters."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from onnx import ModelProto, NodeProto

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.shapes import Shapes, tensor_shapes
from edgemodel_compressor.graph.weights import FLOATS, constants


def parameters(proto: ModelProto) -> int:
    """How many floating-point numbers the model holds, in initializers and Constant nodes; shared ones count once."""
    return sum(prod(tensor.dims) for tensor in constants(proto.graph).values() if tensor.data_type in FLOATS)


def macs(proto: ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None) -> int:
    """Multiply-accumulates of Conv, ConvTranspose, Gemm, MatMul, Attention, LSTM and GRU for inputs of these shapes.

    Other operators do next to none and count for nothing, as do bodies of loops and branches. ``input_shapes`` fills in
    open dimensions; without it the first counts as 2 and any other as 64.

    Raises:
        NotApplicableError: a shape that is needed cannot be told.
    """
    shapes = tensor_shapes(proto, input_shapes)
    total = 0
    for node in proto.graph.node:
        count = _COUNTS.get(node.op_type)
        if count is None:
            continue
        if unknown := _unknown(node, shapes):
            raise NotApplicableError(f"the shape of {unknown[0]} cannot be told before the model runs")
        total += count(node, shapes)
    return total


def macs_per_weight(proto: ModelProto, shapes: Shapes) -> dict[str, float]:
    """How often a run multiplies with an element of each float tensor of two or more dimensions, by its name.

    ``shapes`` are those of all tensors; a node of which one is not known counts for nothing.
    """
    known = constants(proto.graph)
    found: dict[str, float] = {}
    for node in proto.graph.node:
        weights = [name for name in node.input if name in known and known[name].data_type in FLOATS]
        weights = [name for name in weights if len(known[name].dims) > 1]
        if node.op_type not in _COUNTS or not weights or _unknown(node, shapes):
            continue
        elements = sum(prod(known[name].dims) for name in weights)
        for name in weights:
            found[name] = found.get(name, 0.0) + _COUNTS[node.op_type](node, shapes) / max(elements, 1)
    return found


def operators(proto: ModelProto) -> int:
    """How many of the nodes do the arithmetic that ``macs`` counts."""
    return sum(node.op_type in _COUNTS for node in proto.graph.node)


def _unknown(node: NodeProto, shapes: Shapes) -> list[str]:
    """The tensors that counting ``node`` needs and that have no shape."""
    return [name for name in (*node.input[:3], node.output[0]) if name and name not in shapes]


def _convolution(node: NodeProto, shapes: Shapes) -> int:
    # Weight (O, I/g, …): each output element sums over all but the first dimension.
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _transposed(node: NodeProto, shapes: Shapes) -> int:
    # Weight (I, O/g, …): each input element is spread over all but the first dimension.
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _attention(node: NodeProto, shapes: Shapes) -> int:
    query, key, value = (shapes[name] for name in node.input[:3])
    if len(query) == 4:
        pairs = query[0] * query[1] * query[2] * key[2]
        return pairs * (query[3] + value[3])
    return query[0] * query[1] * key[1] * (query[2] + value[2])


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    # Weights (directions, gates·hidden, inputs) and (directions, gates·hidden, hidden), for each step and sample.
    steps, batch, _ = shapes[node.input[0]]
    return steps * batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


_COUNTS: Mapping[str, Callable[[NodeProto, Shapes], int]] = {
    "Attention": _attention,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
}
