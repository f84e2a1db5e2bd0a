"""Which constants of a graph are trained: what its operators multiply with and add, not what they are set up with."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from edgemodel_compressor.graph.weights import constants

_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Einsum": (0, 1),
    "GRU": (1, 2, 3),
    "Gather": (0,),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
"""Operator to the inputs that are parameters, of any size."""
_OPERANDS = {"Add", "Concat", "Div", "Mul", "Sub"}
"""Operators whose constants are biases, scales, tokens and positions; or, where they are one number, a formula's."""
_STATISTICS: Mapping[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}
_LAYOUT = {
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
"""Operators that pass a constant on as it is."""
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE}
_MASKED = 1e9
"""A constant with a value as large masks scores, and is no weight."""


def trainable(graph: GraphProto) -> dict[str, TensorProto]:
    """The parameters of ``graph`` by name, in the order of their first use. References, not copies.

    A tensor that serves as a running statistic, too, stays as it is.
    """
    known = {name: tensor for name, tensor in constants(graph).items() if tensor.data_type in _FLOATS}
    origins: dict[str, tuple[str, ...]] = {name: (name,) for name in known}
    found: dict[str, None] = {}
    statistics: set[str] = set()
    for node in graph.node:
        for position, name in enumerate(node.input):
            if position in _STATISTICS.get(node.op_type, ()):
                statistics.update(origins.get(name, ()))
        found |= dict.fromkeys(_uses(node, origins, known))
        if node.op_type in _LAYOUT and any(node.input) and all(name in origins for name in _data(node)):
            passed = tuple(origin for name in _data(node) for origin in origins[name])
            origins |= dict.fromkeys(node.output, passed)
    return {name: known[name] for name in found if name not in statistics}


def running_statistics(graph: GraphProto) -> dict[str, TensorProto]:
    """Means and variances of batch norms by name. References, not copies.

    None at all, where one of them is calculated, or serves in a second place: they cannot be estimated anew.
    """
    known = constants(graph)
    uses = Counter(name for node in graph.node for name in node.input)
    names = [node.input[at] for node in graph.node for at in _STATISTICS.get(node.op_type, ())]
    if not all(name in known and known[name].data_type in _FLOATS and uses[name] == 1 for name in names):
        return {}
    return {name: known[name] for name in names}


def _data(node: NodeProto) -> list[str]:
    """The inputs of a layout operator that it passes on."""
    return list(node.input) if node.op_type == "Concat" else list(node.input[:1])


def _uses(node: NodeProto, origins: Mapping[str, tuple[str, ...]], known: Mapping[str, TensorProto]) -> Iterator[str]:
    positions = _PARAMETERS.get(node.op_type, ())
    for position, name in enumerate(node.input):
        for origin in origins.get(name, ()):
            if position in positions or (node.op_type in _OPERANDS and _is_tensor(known[origin])):
                yield origin


def _is_tensor(tensor: TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return values.size > 1 and bool((np.abs(values) < _MASKED).all())
