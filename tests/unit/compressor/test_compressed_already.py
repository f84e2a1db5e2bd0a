"""Models that somebody has compressed before: what is left to gain is searched, and the rest is said at once."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.data.dataset import read_dataset
from edgemodel_compressor.graph.normalize import normalize
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.onnxmodel.runtime import Session
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search import engine
from edgemodel_compressor.search.engine import Outcome, compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import Objectives, Quantization, Recipe, Search
from tests.unit.compressor import builders
from tests.unit.compressor.strangers import STRANGERS


def run(source: Path, data: Path, recipe: Recipe, folder: Path, settings: Settings) -> Outcome:
    folder.mkdir()
    model = load_model(source, "0" * 64, (), 1, folder)
    dataset = read_dataset(data, model.inputs, 10**8)
    return compress(Job(model, dataset, recipe, 1, folder, settings), Span(lambda _: None))


@pytest.fixture(autouse=True)
def _unweighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)


def in_half(proto: onnx.ModelProto, whole: bool) -> onnx.ModelProto:
    """``proto`` in half precision: its weights, and with ``whole`` also its inputs and outputs."""
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    names = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    if whole:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return proto
    for node in proto.graph.node:
        node.input[:] = [f"{name}16" if name in names else name for name in node.input]
        node.output[:] = [f"{name}16" if name in names else name for name in node.output]
    for value in proto.graph.input:
        proto.graph.node.insert(0, helper.make_node("Cast", [value.name], [f"{value.name}16"], to=TensorProto.FLOAT16))
    for value in proto.graph.output:
        proto.graph.node.append(helper.make_node("Cast", [f"{value.name}16"], [value.name], to=TensorProto.FLOAT))
    return proto


@pytest.mark.parametrize("method", ["Static", "Dynamic"])
def test_integers_already_are_said_and_not_searched(
    shared: Path, tmp_path: Path, settings: Settings, method: str
) -> None:
    by_hand = Recipe(mode="Manual", quantization=Quantization(method=method))  # type: ignore[arg-type]
    integers = run(shared / "mlp.onnx", shared / "mlp.npz", by_hand, tmp_path / "once", settings).chosen_file
    again = run(integers, shared / "mlp.npz", Recipe(), tmp_path / "again", settings)
    assert again.choice.chosen is not None
    assert (again.choice.chosen.method, again.tried) == ("original", ())
    (note,) = (note for note in again.notes if "compressed already" in note)
    assert "of its weights are integers or half precision" in note


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "inputs and outputs too"])
def test_half_precision_becomes_integers(shared: Path, tmp_path: Path, settings: Settings, whole: bool) -> None:
    source = builders.save(in_half(builders.mlp(), whole), tmp_path / "half.onnx")
    recipe = Recipe(search=Search(trials=1), objectives=Objectives(max_latency=10.0))
    outcome = run(source, shared / "mlp.npz", recipe, tmp_path / "work", settings)
    assert outcome.choice.chosen is not None
    assert outcome.choice.chosen.method == "static-int8"
    assert outcome.chosen_file.stat().st_size < 0.7 * source.stat().st_size
    made, given = (Session(path, 1) for path in (outcome.chosen_file, source))
    assert (made.inputs, made.outputs) == (given.inputs, given.outputs)


def test_in_single_precision_the_answers_stay(tmp_path: Path) -> None:
    for name, proto in (("weights", STRANGERS["half"]().proto), ("whole", in_half(builders.mlp(), True))):
        source = builders.save(proto, tmp_path / f"{name}.onnx")
        plain = normalize(source, tmp_path)
        assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in onnx.load(plain).graph.initializer)
        (value,) = proto.graph.input
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        width = value.type.tensor_type.shape.dim[1].dim_value
        feed = {value.name: np.random.default_rng(0).normal(size=(1, width)).astype(kind)}
        (one,), (other,) = (Session(path, 1).run(feed) for path in (source, plain))
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=2e-2, atol=1e-2)
