"""Small real models with weights that were fitted by numpy, and datasets they can be judged on."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CLASSES = 4
OPSET = [helper.make_opsetid("", 17)]


def blobs(
    samples: int, features: tuple[int, ...], seed: int = 1, noise: float = 1.6, classes: int = CLASSES
) -> tuple[Floats, Ints]:
    """``samples`` noisy copies of one prototype per class; the prototypes do not depend on ``seed``."""
    prototypes = np.random.default_rng(0).normal(size=(classes, *features))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size=samples)
    values = prototypes[labels] + rng.normal(scale=noise, size=(samples, *features))
    return values.astype(np.float32), labels.astype(np.int64)


def _readout(hidden: NDArray[np.float32], labels: Ints, classes: int) -> tuple[Floats, Floats]:
    """A linear layer fitted by ridge regression: weights (features, classes) and bias (classes,)."""
    design = np.concatenate([hidden, np.ones((len(hidden), 1), np.float32)], axis=1).astype(np.float64)
    target = np.eye(classes)[labels]
    fitted = np.linalg.solve(design.T @ design + 10 * np.eye(design.shape[1]), design.T @ target)
    return fitted[:-1].astype(np.float32), fitted[-1].astype(np.float32)


def _convolve(images: Floats, kernels: Floats) -> Floats:
    """Valid 3×3 convolution: (N, C, H, W) with (O, C, 3, 3) to (N, O, H-2, W-2)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(2, 3))
    return np.moveaxis(np.tensordot(windows, kernels, axes=([1, 4, 5], [1, 2, 3])), 3, 1).astype(np.float32)


def mlp(features: int = 48, hidden: int = 160, classes: int = CLASSES, batch: int | str = "N") -> onnx.ModelProto:
    """Gemm, Relu, Gemm: input ``x`` (batch, features), output ``scores`` (batch, classes)."""
    values, labels = blobs(600, (features,), seed=7, classes=classes)
    rng = np.random.default_rng(3)
    first = (rng.normal(size=(features, hidden)) / np.sqrt(features)).astype(np.float32)
    bias = rng.normal(scale=0.1, size=hidden).astype(np.float32)
    second, offset = _readout(np.maximum(values @ first + bias, 0), labels, classes)
    return model(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["scores"], name="second"),
        ],
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, features])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, classes])],
        weights={"w1": first, "b1": bias, "w2": second, "b2": offset},
    )


def residual(features: int = 48, width: int = 64, blocks: int = 4) -> onnx.ModelProto:
    """``blocks`` times h + ReLU(hW)V between two Gemms: input ``x`` (N, features), output ``scores`` (N, classes)."""
    rng = np.random.default_rng(3)

    def draw(rows: int, columns: int, scale: float) -> Floats:
        weights: Floats = (scale * rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        return weights

    values, labels = blobs(600, (features,), seed=7)
    weights = {"w": draw(features, width, 1.0)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h0"], name="stem")]
    hidden = values @ weights["w"]
    for index in range(blocks):
        # Each does less than the one before.
        weights[f"w{index}"], weights[f"v{index}"] = draw(width, width, 1.0), draw(width, width, 0.5**index)
        nodes += [
            helper.make_node("MatMul", [f"h{index}", f"w{index}"], [f"a{index}"], name=f"widen{index}"),
            helper.make_node("Relu", [f"a{index}"], [f"r{index}"], name=f"relu{index}"),
            helper.make_node("MatMul", [f"r{index}", f"v{index}"], [f"b{index}"], name=f"narrow{index}"),
            helper.make_node("Add", [f"h{index}", f"b{index}"], [f"h{index + 1}"], name=f"sum{index}"),
        ]
        hidden = hidden + np.maximum(hidden @ weights[f"w{index}"], 0) @ weights[f"v{index}"]
    weights["head"], weights["offset"] = _readout(hidden, labels, CLASSES)
    nodes.append(helper.make_node("Gemm", [f"h{blocks}", "head", "offset"], ["scores"], name="head"))
    return model(
        nodes,
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        weights=weights,
    )


def convnet(channels: int = 24, side: int = 12, batch: int | str = 1) -> onnx.ModelProto:
    """Conv, Relu, Conv, Relu, pool, Gemm: input ``image`` (batch, 1, side, side), output ``scores``."""
    rng = np.random.default_rng(5)
    weights: dict[str, Floats] = {
        "k1": (rng.normal(size=(channels, 1, 3, 3)) / 3).astype(np.float32),
        "c1": np.zeros(channels, np.float32),
        "k2": (rng.normal(size=(channels, channels, 3, 3)) / (3 * np.sqrt(channels))).astype(np.float32),
        "c2": np.zeros(channels, np.float32),
    }
    body = [
        helper.make_node("Conv", ["image", "k1", "c1"], ["a"], name="conv1", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "k2", "c2"], ["c"], name="conv2", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("MaxPool", ["d"], ["e"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["e"], ["f"], name="flatten"),
    ]
    values, labels = blobs(600, (1, side, side), seed=7)
    maps = np.maximum(_convolve(np.maximum(_convolve(values, weights["k1"]), 0), weights["k2"]), 0)
    even = maps.shape[2] // 2 * 2
    maps = maps[:, :, :even, :even]
    pooled = maps.reshape(len(maps), channels, even // 2, 2, even // 2, 2).max(axis=(3, 5))
    weights["w"], weights["o"] = _readout(pooled.reshape(len(maps), -1), labels, CLASSES)
    return model(
        [*body, helper.make_node("Gemm", ["f", "w", "o"], ["scores"], name="head")],
        inputs=[helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, side, side])],
        outputs=[helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        weights=weights,
    )


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, Floats] | None = None,
    opsets: list[onnx.OperatorSetIdProto] | None = None,
) -> onnx.ModelProto:
    """A model of ``nodes`` with ``weights`` as initializers."""
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        outputs,
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=opsets or OPSET, ir_version=8, producer_name="test")


def have_cpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let this process believe that it may run on so many CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write ``proto`` to ``path``."""
    path.write_bytes(proto.SerializeToString())
    return path


def save_dataset(path: Path, **arrays: NDArray[np.generic]) -> Path:
    """Write an ``npz`` of ``arrays`` to ``path``."""
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path
