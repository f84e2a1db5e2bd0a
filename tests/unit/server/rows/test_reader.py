"""The reader of ONNX files against onnx's own, and against damaged files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgemodel_server.model.rows.graph import Constant, Graph, parse_graph, read_graph
from edgemodel_server.model.rows.proof import prove
from edgemodel_server.model.rows.wire import WireError
from tests.architectures.export import export
from tests.unit.server.builders import countdown, detector, mlp


def parsed(model: onnx.ModelProto) -> Graph:
    return parse_graph(memoryview(model.SerializeToString()))


@pytest.mark.parametrize("model", [export("bert", "dynamo", 23), export("lstm", "torchscript", 17), countdown()])
def test_it_reads_what_onnx_reads(model: onnx.ModelProto) -> None:
    graph, theirs = parsed(model), model.graph
    assert [(n.operator, list(n.inputs), list(n.outputs), n.name) for n in graph.nodes] == [
        (n.op_type, list(n.input), list(n.output), n.name) for n in theirs.node
    ]
    assert graph.outputs == [item.name for item in theirs.output]
    assert graph.opsets == {item.domain: item.version for item in model.opset_import}
    for name, shape in graph.inputs.items():
        (info,) = (item for item in theirs.input if item.name == name)
        dims = info.type.tensor_type.shape.dim
        assert list(shape) == [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]
    for tensor in theirs.initializer:
        ours = graph.constants[tensor.name]
        assert ours.shape == tuple(tensor.dims)
        if ours.value is not None:
            np.testing.assert_array_equal(ours.value, numpy_helper.to_array(tensor))
    for node, other in zip(graph.nodes, theirs.node, strict=True):
        assert node.subgraphs == any(item.type == onnx.AttributeProto.GRAPH for item in other.attribute)
        for attribute in other.attribute:
            value = node.attributes[attribute.name]
            expected = helper.get_attribute_value(attribute)
            if isinstance(value, Constant):
                assert value.shape == tuple(expected.dims)
            elif not node.subgraphs:
                assert value == (expected.decode() if isinstance(expected, bytes) else expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "int64", "uint8", "bool", "uint64"])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "listed"])
def test_small_constants_have_their_values_however_they_are_written(dtype: str, raw: bool) -> None:
    array = np.array([[0, 1], [2, 3]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    content = array.tobytes() if raw else array.ravel().tolist()
    tensor = helper.make_tensor("c", kind, array.shape, content, raw=raw)
    graph = helper.make_graph([], "g", [], [], [tensor])
    value = parsed(helper.make_model(graph)).constants["c"].value
    assert value is not None
    np.testing.assert_array_equal(value, array)
    assert value.dtype == array.dtype


def test_weights_are_not_read(tmp_path: Path) -> None:
    """Nor does a file of weights beside the model have to be there."""
    model = mlp(features=64, hidden=64)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    graph = read_graph(tmp_path / "m.onnx")
    assert graph.constants["w1"] == Constant((64, 64), None)
    assert prove(graph, {"x": (-1, 64)}).holds


@given(st.data())
def test_damaged_files_are_refused_or_read_and_never_more(data: st.DataObject) -> None:
    content = bytearray(detector().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    try:
        graph = parse_graph(memoryview(content))
    except WireError:
        return
    prove(graph, {"x": (-1, 64)})


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 20, b"not a model", b"\x3a\x7f"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(WireError):
        read_graph(tmp_path / "m.onnx")
