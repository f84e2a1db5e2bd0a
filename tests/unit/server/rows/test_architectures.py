"""What people have: architectures by both of torch's exporters, and as ONNX Runtime's optimizer rewrites them."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemodel_server.model.ort import onnxruntime
from edgemodel_server.model.rows.graph import parse_graph, read_graph
from edgemodel_server.model.rows.proof import Proof, prove
from tests.architectures.catalogue import NAMES, example
from tests.architectures.export import Exporter, export, opsets

CASES: list[tuple[str, Exporter]] = [
    *((name, "torchscript") for name in NAMES),
    *((name, "dynamo") for name in ("mlp", "lstm", "bert", "gpt2", "vit")),
]


def proved(model: onnx.ModelProto) -> Proof:
    graph = parse_graph(memoryview(model.SerializeToString()))
    return prove(graph, {name: [-1, *(size for size in shape[1:])] for name, shape in _shapes(model).items()})


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    return {item.name: [dim.dim_value or -1 for dim in item.type.tensor_type.shape.dim] for item in model.graph.input}


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_rows_are_proved_independent_and_are(name: str, exporter: Exporter) -> None:
    for opset in {opsets(name, exporter)[0], opsets(name, exporter)[-1]}:
        model = export(name, exporter, opset, open_batch=True)
        assert proved(model).reason is None, opset
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = example(name)
    (together,) = session.run(None, given)
    alone = [session.run(None, {key: array[row : row + 1] for key, array in given.items()})[0] for row in range(2)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "mobilenet_v2"])
def test_they_are_still_when_onnx_runtime_has_rewritten_them(tmp_path: Path, name: str) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "m.onnx")
    model = export(name, "torchscript", 17, open_batch=True)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    graph = read_graph(tmp_path / "m.onnx")
    assert any(node.domain == "com.microsoft" for node in graph.nodes)
    assert prove(graph, _shapes(model)).reason is None
