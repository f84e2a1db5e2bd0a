"""scikit-learn's 8×8 scans of handwritten digits, and small networks for them with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime import InferenceSession
from sklearn.datasets import load_digits

from tests.unit.compressor.builders import Floats, Ints, model

_HELD_OUT = 500


@dataclass(frozen=True)
class Digits:
    """Pixels from 0 to 1 as rows (samples, 64), their labels, and a part that no training sees."""

    x: Floats
    y: Ints
    test_x: Floats
    test_y: Ints


@cache
def digits() -> Digits:
    """All 1,797 scans in a random order that is always the same."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = (data.data[order] / 16).astype(np.float32), data.target[order].astype(np.int64)
    return Digits(x[_HELD_OUT:], y[_HELD_OUT:], x[:_HELD_OUT], y[:_HELD_OUT])


def run(proto: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The first output in ONNX Runtime, all samples at once."""
    result: NDArray[Any] = InferenceSession(proto.SerializeToString()).run(None, dict(feed))[0]
    return result


def accuracy(proto: onnx.ModelProto) -> float:
    """The share of the held-out scans that ``proto``, with an input ``x``, reads right."""
    data = digits()
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    scores = run(proto, {"x": data.test_x.reshape(-1, *shape)})
    return float((scores.argmax(axis=1) == data.test_y).mean())


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    """He et al., 2015."""
    fan_in = int(np.prod(shape[1:]))
    weights: Floats = (rng.normal(size=shape) * np.sqrt(2 / fan_in)).astype(np.float32)
    return weights


def convnet(batch: int | str = "N") -> onnx.ModelProto:
    """Two convolutions with batch norm, a pool and a linear layer: ``x`` (batch, 1, 8, 8) to ``scores`` (batch, 10)."""
    rng = np.random.default_rng(1)
    norm = {
        "scale": np.ones(16, np.float32),
        "shift": np.zeros(16, np.float32),
        "mean": np.full(16, 0.1, np.float32),
        "variance": np.full(16, 0.8, np.float32),
    }
    return model(
        [
            helper.make_node("Conv", ["x", "conv1.weight"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["a", *norm], ["b"]),
            helper.make_node("Relu", ["b"], ["c"]),
            helper.make_node("Conv", ["c", "conv2.weight", "conv2.bias"], ["d"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["d"], ["e"]),
            helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["f"], ["g"]),
            helper.make_node("Gemm", ["g", "fc.weight", "fc.bias"], ["scores"], transB=1),
        ],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 8, 8])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 10])],
        weights={
            "conv1.weight": _normal(rng, 16, 1, 3, 3),
            **norm,
            "conv2.weight": _normal(rng, 24, 16, 3, 3),
            "conv2.bias": np.zeros(24, np.float32),
            "fc.weight": _normal(rng, 10, 24 * 16) / np.float32(2),
            "fc.bias": np.zeros(10, np.float32),
        },
    )


def two_layers(hidden: int = 64, batch: int | str = "N", softmax: bool = False) -> onnx.ModelProto:
    """Linear, ReLU, Linear: ``x`` (batch, 64) to ``scores`` (batch, 10), or to probabilities."""
    rng = np.random.default_rng(2)
    last = "logits" if softmax else "scores"
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], [last], transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"]))
    return model(
        nodes,
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 64])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 10])],
        weights={
            "w1": _normal(rng, hidden, 64),
            "b1": np.zeros(hidden, np.float32),
            "w2": _normal(rng, 10, hidden) / np.float32(4),
            "b2": np.zeros(10, np.float32),
        },
    )
