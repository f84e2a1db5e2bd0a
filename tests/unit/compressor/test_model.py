"""Untrusted bytes: every way in which a file is not a usable model has its own reason and sentence."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.model import Model, load_model
from edgemodel_compressor.onnxmodel.tensors import require_concrete
from edgemodel_contract.task import TensorSpec
from tests.unit.compressor import builders

WHOLE = builders.mlp().SerializeToString()


def load(path: Path, *hints: TensorSpec) -> Model:
    return load_model(path, "0" * 64, hints, threads=1)


def fail(content: bytes | onnx.ModelProto, folder: Path) -> TaskError:
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(TaskError) as caught:
        load(path)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


def tensor(name: str, shape: list[int | str | None] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_a_good_model_says_what_goes_in_and_out(tmp_path: Path) -> None:
    model = load(builders.save(builders.mlp(), tmp_path / "m.onnx"))
    assert model.inputs == (TensorSpec(name="x", datatype="FP32", shape=(-1, 48)),)
    assert model.outputs == (TensorSpec(name="scores", datatype="FP32", shape=(-1, 4)),)


def _zipped_pickle() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": 1}))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (pickle.dumps({"weight": [1.0] * 100}), "never unpickled"),
        (_zipped_pickle(), "never unpickled"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\n  <html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(100), "TensorFlow Lite"),
        (b"\x1f\x8b\x08\x00" + bytes(100), "archive"),
        (bytes(range(256)) * 10, "not an ONNX model"),
        (b"just some text", "not an ONNX model"),
        (WHOLE[: len(WHOLE) // 2], "cut short"),
        (WHOLE[:-1], "cut short"),
        (b"\x08\x08", "no complete ONNX graph"),
    ],
)
def test_what_is_not_a_model_is_invalid(tmp_path: Path, content: bytes, words: str) -> None:
    error = fail(content, tmp_path)
    assert error.reason == "InvalidModel"
    assert words in error.message


@hypothesis_settings(max_examples=60)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_a_sentence_or_a_model_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    data = bytearray(WHOLE)
    data[position] ^= flip
    path = tmp_path_factory.getbasetemp() / "flipped.onnx"
    path.write_bytes(bytes(data))
    reason = None
    try:
        load(path)
    except TaskError as error:
        reason = error.reason
    assert reason in (None, "InvalidModel", "UnsupportedModel")


@hypothesis_settings(max_examples=60)
@given(st.binary(max_size=200))
def test_random_bytes_are_never_a_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(data)
    with pytest.raises(TaskError):
        load(path)


def _external(location: str) -> onnx.ModelProto:
    proto = builders.mlp()
    weight = proto.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return proto


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../secret.bin", "a/../../secret.bin", "..\\secret.bin", "C:\\secret.bin"]
)
def test_weights_outside_the_models_folder_are_refused(tmp_path: Path, location: str) -> None:
    error = fail(_external(location), tmp_path)
    assert error.reason == "InvalidModel"
    assert "outside its own folder" in error.message


def test_a_data_file_that_is_not_there_is_named_and_it_says_what_to_give(tmp_path: Path) -> None:
    error = fail(_external("weights.bin"), tmp_path)
    assert error.reason == "InvalidModel"
    assert "'weights.bin', which is not there; give the folder, archive (tar, tar.gz, zip) or artifact" in error.message


def test_external_weights_of_a_branch_are_found_too(tmp_path: Path) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["o"])], "then", [], [tensor("o", [1])])
    weight = inner.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")

    def branching() -> onnx.ModelProto:
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        return builders.model([node], [tensor("c", [], TensorProto.BOOL)], [tensor("y", [1])])

    assert "outside its own folder" in fail(branching(), tmp_path).message
    (tmp_path / "weights.bin").write_bytes(bytes(4))
    weight.external_data[0].value = "weights.bin"
    error = fail(branching(), tmp_path)
    assert (error.reason, "inside the model file" in error.message) == ("UnsupportedModel", True)


def _custom_operator() -> onnx.ModelProto:
    return builders.model(
        [helper.make_node("Sparkle", ["x"], ["y"], domain="com.example")],
        [tensor("x", [1, 4])],
        [tensor("y", [1, 4])],
        opsets=[*builders.OPSET, helper.make_opsetid("com.example", 1)],
    )


def _unknown_operator() -> onnx.ModelProto:
    return builders.model([helper.make_node("Sparkle", ["x"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])])


def _future_opset() -> onnx.ModelProto:
    proto = builders.mlp()
    proto.opset_import[0].version = 999
    return proto


def _nan() -> onnx.ModelProto:
    proto = builders.mlp()
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[3, 3] = np.nan
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    return proto


def _missing_weight() -> onnx.ModelProto:
    proto = builders.mlp()
    del proto.graph.initializer[0]
    return proto


def _cycle() -> onnx.ModelProto:
    return builders.model(
        [
            helper.make_node("Add", ["x", "b"], ["a"], name="one"),
            helper.make_node("Relu", ["a"], ["b"], name="two"),
            helper.make_node("Relu", ["b"], ["y"], name="three"),
        ],
        [tensor("x", [1, 4])],
        [tensor("y", [1, 4])],
    )


def _wrong_shape() -> onnx.ModelProto:
    proto = builders.mlp(batch=1)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 47
    return proto


def _no_input() -> onnx.ModelProto:
    return builders.model(
        [helper.make_node("Identity", ["w"], ["y"])], [], [tensor("y", [2])], {"w": np.ones(2, np.float32)}
    )


def _sequence() -> onnx.ModelProto:
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    return builders.model(
        [node], [tensor("x", [1])], [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)]
    )


def _no_rank() -> onnx.ModelProto:
    return builders.model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", None)], [tensor("y", None)])


@pytest.mark.parametrize(
    ("build", "reason", "words"),
    [
        (_custom_operator, "UnsupportedModel", "com.example.Sparkle"),
        (_unknown_operator, "InvalidModel", "Sparkle"),
        (_future_opset, "UnsupportedModel", "opset 999"),
        (_nan, "InvalidModel", "'w1' contains NaN"),
        (_missing_weight, "InvalidModel", "'first' (Gemm) reads 'w1', which nothing in the model defines"),
        (_cycle, "InvalidModel", "'one' (Add), 'two' (Relu) wait for one another in a cycle"),
        (_wrong_shape, "InvalidModel", "ONNX Runtime cannot load"),
        (_no_input, "InvalidModel", "no input"),
        (_sequence, "UnsupportedModel", "'y' is not a tensor of numbers or strings"),
        (_no_rank, "UnsupportedModel", "'x'"),
    ],
)
def test_models_that_parse_but_cannot_be_served(
    tmp_path: Path, build: Callable[[], onnx.ModelProto], reason: str, words: str
) -> None:
    error = fail(build(), tmp_path)
    assert (error.reason, words in error.message) == (reason, True), error.message


class TestOpenDimensions:
    @pytest.fixture
    def images(self, tmp_path: Path) -> Path:
        node = helper.make_node("Relu", ["x"], ["y"])
        shape: list[int | str | None] = ["N", 3, "H", "W"]
        return builders.save(builders.model([node], [tensor("x", shape)], [tensor("y", shape)]), tmp_path / "m.onnx")

    def test_a_hint_fills_them_in(self, images: Path) -> None:
        hint = TensorSpec(name="x", datatype="FP32", shape=(1, 3, 8, 9))
        assert load(images, hint).inputs == (hint,)

    def test_samples_show_them(self, images: Path) -> None:
        (spec,) = require_concrete(load(images).inputs, {"x": (100, 3, 8, 9)})
        assert spec.shape == (-1, 3, 8, 9)

    def test_without_either_the_sentence_says_how_to_give_them(self, images: Path) -> None:
        with pytest.raises(TaskError, match=r"shape \[1, 3, …, …\]") as caught:
            require_concrete(load(images).inputs, {})
        assert caught.value.reason == "InvalidTask"

    @pytest.mark.parametrize(
        "hint",
        [
            TensorSpec(name="z", datatype="FP32", shape=(1, 3, 8, 9)),
            TensorSpec(name="x", datatype="FP32", shape=(1, 4, 8, 9)),
            TensorSpec(name="x", datatype="FP32", shape=(1, 3, 8)),
            TensorSpec(name="x", datatype="INT8", shape=(1, 3, 8, 9)),
        ],
    )
    def test_a_hint_that_contradicts_the_file_is_an_invalid_task(self, images: Path, hint: TensorSpec) -> None:
        with pytest.raises(TaskError) as caught:
            load(images, hint)
        assert caught.value.reason == "InvalidTask"
