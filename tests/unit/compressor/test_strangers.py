"""Graphs as exporters write them, from end to end: a result, or one sentence. Never a traceback."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgemodel_compressor.cli import arguments, commandline
from edgemodel_compressor.cli.commandline import run_commandline
from edgemodel_compressor.errors import TaskError, told
from edgemodel_compressor.graph.normalize import flatten_biases, normalize
from edgemodel_compressor.graph.shapes import tensor_shapes
from edgemodel_compressor.graph.structure import analyse, magnitude, remove, select
from edgemodel_compressor.onnxmodel.runtime import Session
from edgemodel_compressor.search import engine
from edgemodel_compressor.settings import Settings
from tests.unit.compressor.strangers import STRANGERS

METHODS = {
    "none": ("--mode", "None"),
    "auto": ("--trials", "7"),
    "static": ("--quantize", "static"),
    "dynamic": ("--quantize", "dynamic"),
    "structured": ("--prune", "0.5", "--prune-method", "structured"),
}


@pytest.fixture(autouse=True)
def _without_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed, and weighed in processes of its own, does not depend on the graph's form."""
    monkeypatch.setattr(engine, "peak_memory", lambda *_: None)
    monkeypatch.setattr(commandline, "measure_throughput", lambda outcome, *_: outcome)


def compress(settings: Settings, folder: Path, name: str, *words: str) -> int:
    stranger = STRANGERS[name]()
    model = folder / "model.onnx"
    model.write_bytes(stranger.proto.SerializeToString())
    given = [*words, *stranger.options]
    if stranger.arrays:
        np.savez(folder / "samples.npz", **stranger.arrays)  # type: ignore[arg-type]
        given += ["--dataset", str(folder / "samples.npz")]
    return run_commandline(arguments.parse([str(model), "-o", str(folder / "out"), *given]), settings)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STRANGERS)
def test_a_result_or_one_sentence(
    settings: Settings, tmp_path: Path, name: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = compress(settings, tmp_path, name, *METHODS[method])
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert "Traceback" not in said
    assert not re.search(r"failed on this graph|failed in a way", said), said
    if code:
        assert code == 2
        assert method not in ("none", "auto"), printed.err
        last = printed.err.splitlines()[-1]
        assert re.fullmatch(
            r"edgemodel-compress: \S+ is not possible for this model: .*; choose another method, .*\.", last
        ), last
    else:
        assert (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize("name", ["branch", "function", "loop", "old", "sparse"])
def test_plainer_forms_answer_the_same(tmp_path: Path, name: str) -> None:
    stranger = STRANGERS[name]()
    source = tmp_path / "model.onnx"
    source.write_bytes(stranger.proto.SerializeToString())
    plain = normalize(source, tmp_path)
    assert plain != source
    written = onnx.load(plain)
    assert not written.functions
    assert not written.graph.sparse_initializer
    assert len(written.graph.input) == len(stranger.arrays)
    feed = {key: array[:1] for key, array in stranger.arrays.items()}
    for one, other in zip(Session(source, 1).run(feed), Session(plain, 1).run(feed), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_graph_in_plain_forms_is_left_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(STRANGERS["view"]().proto.SerializeToString())
    assert normalize(source, tmp_path) == source


def test_a_row_as_bias_becomes_a_vector_for_those_that_share_it() -> None:
    proto = STRANGERS["view"]().proto
    (gemm,) = (node for node in proto.graph.node if node.op_type == "Gemm")
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == gemm.input[2])
    bias.dims[:] = [1, bias.dims[0]]
    flatten_biases(proto)
    known = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert numpy_helper.to_array(known[gemm.input[2]]).ndim == 1
    assert bias.name not in known


def test_after_pruning_a_view_by_a_stated_number_every_shape_is_known() -> None:
    proto = STRANGERS["view"]().proto
    analysis = analyse(proto)
    smaller = remove(proto, select(analysis, magnitude(proto, analysis), 0.5))
    assert tensor_shapes(smaller)["f"] == (2, 8)


def test_an_estimate_that_fails_is_left_out_with_its_place_and_its_reason() -> None:
    said: list[str] = []

    def odd() -> float:
        return tensor_shapes(onnx.ModelProto(graph=onnx.GraphProto(node=[onnx.NodeProto()])))["x"][0]

    assert told(odd, None, said.append) is None
    assert "graph/shapes.py:" in said[0]


def test_what_ends_the_task_is_no_failed_estimate() -> None:
    def refuse() -> float:
        raise TaskError("InvalidTask", "No.")

    with pytest.raises(TaskError):
        told(refuse, 0.0, lambda _: None)


def test_whatever_nothing_foresaw_is_one_sentence_with_its_place_and_where_to_report_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("edgemodel_compressor.search.engine.choose", explode)
    assert compress(settings, tmp_path, "wide bias", "--mode", "None") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"edgemodel-compress: EdgeModel failed .* \(search/engine.py:\d+, ZeroDivisionError: boom\)", last)
    assert "issue tracker" in last
