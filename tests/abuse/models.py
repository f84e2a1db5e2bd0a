"""Models that are worth attacking: they accept what is large."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def open_sizes() -> onnx.ModelProto:
    """A classifier of images of any size: ``image`` (N, 3, H, W) → ``scores`` (N, 3), the mean of each channel."""
    nodes = [helper.make_node("ReduceMean", ["image", "axes"], ["scores"], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "open_sizes",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def widening(columns: int) -> onnx.ModelProto:
    """Small in, large out: ``x`` FP32 (N, 1) → ``y`` (N, ``columns``)."""
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        "widening",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", columns])],
        [numpy_helper.from_array(np.array([1, columns]), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
