"""Weights as 8-bit integers, widened by the graph: a quarter of the bytes, the same arithmetic.

A kernel is stored with a scale per output channel; the runtime folds cast and product as it loads. For networks whose
integer kernels are no faster than those for floats: depthwise convolutions do so little arithmetic that converting
between the two costs more than it saves. Where the recipe says so, likewise weights of matrix products and tables.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.quantization.methods.half import MIN_ELEMENTS
from edgemodel_compressor.graph.quantization.operators import channel_axis
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.tidy import replace_initializers
from edgemodel_compressor.onnxmodel.walk import graphs

_HIGHEST = 127


def store_widened(model: onnx.ModelProto, recipe: QuantizationRecipe) -> int:
    """Store the FP32 kernels of ``model`` as INT8, in place, whatever ``bits`` matrix products have; and with
    ``recipe.widened`` what those multiply with, and what is looked up. Returns how many.

    A tensor keeps its name, by which loops and branches inside see it, too.
    """
    every = list(graphs(model.graph))
    ranks = {tensor.name: len(tensor.dims) for graph in every for tensor in graph.initializer}
    axes: dict[str, int] = {}
    for graph in every:
        for node in graph.node:
            if node.name in recipe.excluded:
                continue
            if node.op_type in ("Conv", "ConvTranspose"):
                axes[node.input[1]] = channel_axis(node, 0)
            elif recipe.widened and node.op_type in ("MatMul", "Gemm") and ranks.get(node.input[1], 0) >= 2:
                axes.setdefault(node.input[1], channel_axis(node, ranks[node.input[1]]))
            elif recipe.widened and node.op_type == "Gather" and ranks.get(node.input[0], 0) == 2:
                axes.setdefault(node.input[0], 0)
    return sum(_store(graph, axes) for graph in every)


def _store(graph: onnx.GraphProto, axes: Mapping[str, int]) -> int:
    stated = {value.name for value in (*graph.input, *graph.output)}
    tensors: list[TensorProto] = []
    widening = []
    for tensor in graph.initializer:
        name = tensor.name
        small = np.prod(tensor.dims) < MIN_ELEMENTS
        if tensor.data_type != TensorProto.FLOAT or name not in axes or name in stated or small:
            tensors.append(tensor)
            continue
        integers, scale = _rounded(numpy_helper.to_array(tensor), axes[name])
        tensors += [numpy_helper.from_array(integers, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
        # Not DequantizeLinear: that the runtime leaves in the graph, to fuse it with integer kernels.
        widening += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], name=f"{name}_wide", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name], name=f"{name}_scaled"),
        ]
    nodes = [*widening, *graph.node]
    replace_initializers(graph, tensors)
    del graph.node[:]
    graph.node.extend(nodes)
    return len(widening) // 2


def _rounded(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers of the shape of ``values``, and the scale that they are multiplied with, which broadcasts to it."""
    others = tuple(index for index in range(values.ndim) if index != axis)
    largest = np.abs(values).max(axis=others, keepdims=True, initial=0.0)
    scale = np.where(largest > 0, largest / _HIGHEST, 1.0).astype(np.float32)
    return np.rint(values / scale).clip(-_HIGHEST, _HIGHEST).astype(np.int8), scale
