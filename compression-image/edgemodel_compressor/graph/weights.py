"""Which tensors of a graph are weights: what Conv, Gemm and MatMul multiply with. Biases and norms are not."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
_WIDE = {"FLOAT": 32, "DOUBLE": 64}
_NARROW = {"FLOAT16": 16, "BFLOAT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4, "UINT4": 4}
"""Bits of each element."""
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


@dataclass(frozen=True)
class Weight:
    """One weight of a graph, float or integer, named after the first node that multiplies with it."""

    node: str
    shape: tuple[int, ...]
    sparsity: float
    """Share of it that is zero."""


def weights_of(model: onnx.ModelProto) -> list[Weight]:
    """All weights, in the order of their first use."""
    return [
        Weight(node, tuple(mask.shape), round(float(mask.mean()), 6))
        for node, mask in _zero_masks(model.graph)
        if mask.size
    ]


def sparsity(model: onnx.ModelProto) -> float | None:
    """The share of weights that are zero, in float and in 8-bit graphs alike; None for a model without weights."""
    zeros = total = 0
    for _, zero in _zero_masks(model.graph):
        zeros += int(np.count_nonzero(zero))
        total += zero.size
    return round(zeros / total, 6) if total else None


def share_multiplied(model: onnx.ModelProto) -> float:
    """The share of float weights that are those of matrix products, not of convolutions; their values are not read."""
    known = constants(model.graph)
    multiplied = total = 0
    seen: set[str] = set()
    for node in model.graph.node:
        for name in _weight_names(node):
            if name in known and name not in seen and len(known[name].dims) >= 2:
                seen.add(name)
                size = math.prod(known[name].dims)
                total += size
                multiplied += size if node.op_type in ("Gemm", "MatMul") else 0
    return multiplied / total if total else 0.0


def share_in_float(model: onnx.ModelProto) -> float:
    """The share of the bytes of weights that are FP32 or FP64; 1 where there are none.

    The rest is what methods make of them: integers of 8 bits or fewer, and half precision. Vectors are biases and
    scales, which nothing makes smaller.
    """
    sizes = {True: 0, False: 0}
    for tensor in constants(model.graph).values():
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = (_WIDE | _NARROW).get(kind)
        if bits is not None and len(tensor.dims) > 1:
            sizes[kind in _WIDE] += math.prod(tensor.dims) * bits
    total = sum(sizes.values())
    return sizes[True] / total if total else 1.0


def share_depthwise(model: onnx.ModelProto) -> float:
    """The share of convolutions that have a kernel for each channel on its own; 0 where there are none."""
    groups = [
        next((item.i for item in node.attribute if item.name == "group"), 1)
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    known = constants(model.graph)
    kernels = [known.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    alone = sum(
        group > 1 and kernel is not None and kernel.dims[1] == 1 for group, kernel in zip(groups, kernels, strict=True)
    )
    return alone / len(groups) if groups else 0.0


def _weight_names(node: NodeProto) -> Iterator[str]:
    for position in _WEIGHT_INPUTS.get(node.op_type, ()):
        if position < len(node.input):
            yield node.input[position]


def _zero_masks(graph: GraphProto) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name of a node, and where the weight that it multiplies with is zero."""
    known = constants(graph)
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    widened = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    # Integers that the graph widens are multiplied with their scale, too.
    widened |= {
        node.output[0]: widened[node.input[0]]
        for node in graph.node
        if node.op_type == "Mul" and widened.get(node.input[0]) in known
    }
    seen: set[str] = set()
    for node in graph.node:
        for name in _weight_names(node):
            name = widened.get(name, name)
            if name in dequantized:
                source = dequantized[name]
                name = source.input[0]
                zero_point = source.input[2] if len(source.input) > 2 else ""
                axis = next((item.i for item in source.attribute if item.name == "axis"), 1)
            else:
                zero_point, axis = "", 0
            if name in known and name not in seen and len(known[name].dims) >= 2:
                seen.add(name)
                yield node.name, _is_zero(known, name, zero_point, axis)
        if node.op_type in _INTEGER_WEIGHTS:
            weight, zero = _INTEGER_WEIGHTS[node.op_type]
            name = node.input[weight]
            if name in known and name not in seen:
                seen.add(name)
                # MatMulInteger's zero points run along the columns, ConvInteger has a single one.
                axis = len(known[name].dims) - 1 if node.op_type == "MatMulInteger" else 0
                yield node.name, _is_zero(known, name, node.input[zero] if len(node.input) > zero else "", axis)
        if node.op_type == "MatMulNBits" and node.input[1] in known and node.input[1] not in seen:
            seen.add(node.input[1])
            yield node.name, _is_middle(node, numpy_helper.to_array(known[node.input[1]]))


def _is_middle(node: NodeProto, packed: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where weights of MatMulNBits (N, blocks, bytes) are zero, without the padding of the last block."""
    attributes = {item.name: item.i for item in node.attribute}
    integers = packed if attributes["bits"] == 8 else np.stack([packed & 15, packed >> 4], axis=-1)
    rows = integers.reshape(attributes["N"], -1)[:, : attributes["K"]]
    mask: NDArray[np.bool_] = rows == 2 ** (attributes["bits"] - 1)
    return mask


def _is_zero(known: Mapping[str, TensorProto], name: str, zero_point: str, axis: int) -> NDArray[np.bool_]:
    values = numpy_helper.to_array(known[name])
    zero = numpy_helper.to_array(known[zero_point]) if zero_point in known else np.zeros((), values.dtype)
    if zero.size > 1:
        shape = [1] * values.ndim
        shape[axis] = zero.size
        zero = zero.reshape(shape)
    mask: NDArray[np.bool_] = values == zero
    return mask
