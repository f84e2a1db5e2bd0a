"""A small real model: logistic regression on scikit-learn's scans of handwritten digits, as ONNX."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

_TRAINED_ON = 1200


@dataclass(frozen=True)
class Digits:
    """Files of the model and its data, and the held-out scans with their labels."""

    model: Path
    dataset: Path
    scans: NDArray[np.float32]
    """Shape [597, 1, 8, 8], from 0 to 1; never trained on."""
    labels: NDArray[np.int64]

    def png(self, index: int) -> bytes:
        """One scan as an 8 × 8 greyscale PNG."""
        buffer = io.BytesIO()
        Image.fromarray((self.scans[index, 0] * 255).round().astype(np.uint8)).save(buffer, format="PNG")
        return buffer.getvalue()


def make_digits(folder: Path) -> Digits:
    """Train and write ``model.onnx`` and ``dataset.npz``; a few seconds, the same bytes every time."""
    data = load_digits()
    scans = (data.images / 16).astype(np.float32)[:, np.newaxis]
    labels = data.target.astype(np.int64)
    flat = scans.reshape(len(scans), -1)
    classifier = LogisticRegression(max_iter=2000).fit(flat[:_TRAINED_ON], labels[:_TRAINED_ON])
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.onnx"
    model.write_bytes(
        _onnx(classifier.coef_.T.astype(np.float32), classifier.intercept_.astype(np.float32)).SerializeToString()
    )
    held_out, answers = scans[_TRAINED_ON:], labels[_TRAINED_ON:]
    np.savez(folder / "dataset.npz", x=held_out, y=answers)
    np.savez(folder / "wrong-shape.npz", x=held_out[:, :, :4], y=answers)
    return Digits(model, folder / "dataset.npz", held_out, answers)


def _onnx(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"]),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
