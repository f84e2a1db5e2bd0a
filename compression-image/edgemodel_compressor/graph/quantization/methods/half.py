"""FP16 storage: half the bytes, the same arithmetic.

A float initializer is stored in half precision and cast to FP32 by the graph; the runtime folds that cast as it loads.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.tidy import replace_initializers
from edgemodel_compressor.onnxmodel.walk import graphs

MIN_ELEMENTS = 64
"""Smaller tensors are not worth a node of their own."""
_PRECISION = 2.0**-10


def store_half(model: onnx.ModelProto) -> int:
    """Store the FP32 initializers of ``model`` as FP16, in place, those of its loops and branches, too; returns how
    many.

    A tensor keeps FP32 where FP16 would overflow, or hold its small values only coarsely: scales of integers.
    """
    every = list(graphs(model.graph))
    fixed = {
        name for kind in ("QuantizeLinear", "DequantizeLinear") for graph in every for name in _scales(graph, kind)
    }
    kinds = ("MatMulNBits", "GatherBlockQuantized")
    strict = {name for kind in kinds for graph in every for name in _scales(graph, kind)}
    return sum(_store(graph, fixed, strict) for graph in every)


def _store(graph: onnx.GraphProto, fixed: set[str], strict: set[str]) -> int:
    stated = fixed | {value.name for value in (*graph.input, *graph.output)}
    tensors, casts = [], []
    for tensor in graph.initializer:
        stored = None
        large = np.prod(tensor.dims) >= MIN_ELEMENTS
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in stated and large:
            stored = _half(numpy_helper.to_array(tensor), strict=tensor.name in strict)
        if stored is None:
            tensors.append(tensor)
            continue
        name = f"{tensor.name}_fp16"
        tensors.append(numpy_helper.from_array(stored, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], name=name, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    replace_initializers(graph, tensors)
    del graph.node[:]
    graph.node.extend(nodes)
    return len(casts)


def _half(values: NDArray[np.float32], strict: bool) -> NDArray[np.float16] | None:
    with np.errstate(over="ignore"):
        stored = values.astype(np.float16)
    error = np.abs(stored.astype(np.float32) - values)
    bound = np.abs(values) if strict else np.abs(values).max(initial=0.0)
    return stored if bool(np.all(error <= _PRECISION * bound)) else None


def _scales(graph: onnx.GraphProto, operator: str) -> Iterator[str]:
    position = 1 if operator.endswith("Linear") else 2
    for node in graph.node:
        if node.op_type == operator:
            yield node.input[position]
