"""One graph in every opset that the installed ONNX Runtime reads, by each kind of method: the answers stay."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.onnxmodel.runtime import Session
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search import engine
from edgemodel_compressor.search.engine import compress
from edgemodel_compressor.search.evaluation import Evaluation, Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import Pruning, Quantization, Recipe
from tests.unit.compressor.strangers import CLASSES, SIDE, build, floats, node, rows, value

OLDEST = 6


def newest() -> int:
    """The last opset that the installed ONNX Runtime runs: it is often one behind that of the package onnx."""
    for opset in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        with suppress(Fail):
            InferenceSession(network(opset).SerializeToString(), providers=["CPUExecutionProvider"])
            return opset
    raise AssertionError("ONNX Runtime reads none of them")


def network(opset: int) -> onnx.ModelProto:
    """Convolutions, a norm, a pool and products, as they are written in ``opset``.

    ONNX Runtime has the norm and the product with a bias from opset 7 on.
    """
    first = opset < 7
    nodes = [
        node("Conv", "x k c", "a", kernel_shape=[3, 3]),
        *([] if first else [node("BatchNormalization", "a s t mean var", "n")]),
        node("Relu", "a" if first else "n", "b"),
        node("Conv", "b l d", "e", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", "e", "f"),
        node("GlobalAveragePool", "f", "p"),
        node("Flatten", "p", "g"),
        node("MatMul", "g w", "h") if first else node("Gemm", "g w o", "h"),
        node("Relu", "h", "i"),
        node("MatMul", "i v", "scores") if first else node("Gemm", "i v q", "scores"),
    ]
    weights = {
        "k": floats(24, 3, 3, 3), "c": floats(24), "s": np.ones(24, np.float32), "t": np.zeros(24, np.float32),
        "mean": np.zeros(24, np.float32), "var": np.ones(24, np.float32), "l": floats(24, 24, 3, 3, seed=1),
        "d": floats(24), "w": floats(24, 32, seed=2), "o": floats(32), "v": floats(32, CLASSES, seed=3),
        "q": floats(CLASSES),
    }  # fmt: skip
    read = {name for item in nodes for name in item.input}
    weights = {name: array for name, array in weights.items() if name in read}
    given = [value("x", [1, 3, SIDE, SIDE])]
    if opset < 9:
        given += [value(name, list(array.shape)) for name, array in weights.items()]
    ir = 3 if opset < 9 else min(onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]), 10)
    return build(nodes, given, [value("scores", [1, CLASSES])], weights, opset=opset, ir=max(ir, 3))


RECIPES = {
    "static": Recipe(mode="Manual", quantization=Quantization(method="Static")),
    "dynamic": Recipe(mode="Manual", quantization=Quantization(method="Dynamic")),
    "weights": Recipe(mode="Manual", quantization=Quantization(method="WeightOnly")),
    "structured": Recipe(mode="Manual", pruning=Pruning(sparsity=0.25, method="Structured")),
}


@pytest.mark.parametrize("opset", range(OLDEST, newest() + 1))
def test_every_opset_is_compressed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int
) -> None:
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)
    monkeypatch.setattr(engine, "latency_round", lambda *_: [1e-3])
    monkeypatch.setattr(Evaluation, "confirmed", lambda *_: None)
    source = tmp_path / "model.onnx"
    source.write_bytes(network(opset).SerializeToString())
    samples = rows(3, SIDE, SIDE)
    for name, recipe in RECIPES.items():
        folder = tmp_path / name
        folder.mkdir()
        model = load_model(source, "0" * 64, (), 1, folder)
        made = compress(Job(model, Dataset({"x": samples}, None), recipe, 1, folder, settings), Span(lambda _: None))
        assert made.chosen_file.stat().st_size < source.stat().st_size, name
        feed = {"x": samples[:1]}
        (before,), (after,) = (Session(path, 1).run(feed) for path in (source, made.chosen_file))
        assert after.shape == before.shape
        if name != "structured":
            np.testing.assert_allclose(after, before, atol=0.1 * np.abs(before).max())
