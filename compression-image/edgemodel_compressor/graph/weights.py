"""Which tensors of a graph are weights: what Conv, Gemm and MatMul multiply with. Biases and norms are not."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

_WEIGHT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
}
_INTEGER_WEIGHTS: Mapping[str, tuple[int, int]] = {"ConvInteger": (1, 3), "MatMulInteger": (1, 3)}
"""Operator to the positions of its weight and of that weight's zero point."""
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Initializers and Constant nodes by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def float_weights(graph: GraphProto) -> dict[str, TensorProto]:
    """The floating-point weights of ``graph`` by name, in the order of their first use. References, not copies."""
    known = constants(graph)
    return {
        name: known[name]
        for node in graph.node
        for name in _weight_names(node)
        if name in known and known[name].data_type in FLOATS and len(known[name].dims) >= 2
    }


def sparsity(model: onnx.ModelProto) -> float | None:
    """The share of weights that are zero, in float and in 8-bit graphs alike; None for a model without weights."""
    zeros = total = 0
    for zero in _zero_masks(model.graph):
        zeros += int(np.count_nonzero(zero))
        total += zero.size
    return round(zeros / total, 6) if total else None


def _weight_names(node: NodeProto) -> Iterator[str]:
    for position in _WEIGHT_INPUTS.get(node.op_type, ()):
        if position < len(node.input):
            yield node.input[position]


def _zero_masks(graph: GraphProto) -> Iterator[NDArray[np.bool_]]:
    known = constants(graph)
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    seen: set[str] = set()
    for node in graph.node:
        for name in _weight_names(node):
            if name in dequantized:
                source = dequantized[name]
                name = source.input[0]
                zero_point = source.input[2] if len(source.input) > 2 else ""
                axis = next((item.i for item in source.attribute if item.name == "axis"), 1)
            else:
                zero_point, axis = "", 0
            if name in known and name not in seen and len(known[name].dims) >= 2:
                seen.add(name)
                yield _is_zero(known, name, zero_point, axis)
        if node.op_type in _INTEGER_WEIGHTS:
            weight, zero = _INTEGER_WEIGHTS[node.op_type]
            name = node.input[weight]
            if name in known and name not in seen:
                seen.add(name)
                # MatMulInteger's zero points run along the columns, ConvInteger has a single one.
                axis = len(known[name].dims) - 1 if node.op_type == "MatMulInteger" else 0
                yield _is_zero(known, name, node.input[zero] if len(node.input) > zero else "", axis)


def _is_zero(known: Mapping[str, TensorProto], name: str, zero_point: str, axis: int) -> NDArray[np.bool_]:
    values = numpy_helper.to_array(known[name])
    zero = numpy_helper.to_array(known[zero_point]) if zero_point in known else np.zeros((), values.dtype)
    if zero.size > 1:
        shape = [1] * values.ndim
        shape[axis] = zero.size
        zero = zero.reshape(shape)
    mask: NDArray[np.bool_] = values == zero
    return mask
