"""Inputs and outputs that are not a batch of samples: states, fixed inputs, fixed batches, maps, and open ranks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemodel_compressor.cli import arguments
from edgemodel_compressor.data.dataset import Dataset, read_dataset
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.fixed import fix_inputs
from edgemodel_compressor.onnxmodel.model import Model, load_model
from edgemodel_compressor.onnxmodel.runtime import Array, Session
from tests.unit.compressor import builders
from tests.unit.compressor.strangers import STRANGERS, WIDTH


def load(folder: Path, name: str) -> Model:
    path = folder / "model.onnx"
    path.write_bytes(STRANGERS[name]().proto.SerializeToString())
    return load_model(path, "0" * 64, (), 1)


def read(folder: Path, model: Model, arrays: Mapping[str, Array]) -> Dataset:
    path = builders.save_dataset(folder / "samples.npz", **arrays)
    return read_dataset(path, model.inputs, 2**30, states=model.states)


def test_states_are_found_by_where_they_come_out_again_and_by_what_starts_from_them(tmp_path: Path) -> None:
    assert load(tmp_path, "rated").states == ("state",)
    assert load(tmp_path, "recurrent").states == ("h", "c")
    assert load(tmp_path, "wide bias").states == ()
    assert load(tmp_path, "loop").states == ()


def test_a_sequence_begins_with_states_of_zero(tmp_path: Path) -> None:
    model = load(tmp_path, "recurrent")
    dataset = read(tmp_path, model, STRANGERS["recurrent"]().arrays)
    sample = dataset.sample(3)
    shapes = {name: array.shape for name, array in sample.items()}
    assert shapes == {"x": (1, 5, WIDTH), "h": (1, 1, 16), "c": (1, 1, 16)}
    assert not sample["h"].any()
    assert dataset.sample_shapes == shapes
    speech, *_ = Session(model.path, 1).run(sample)
    assert speech.shape == (1, 1)


def test_a_dataset_may_hold_the_state_of_every_sample(tmp_path: Path) -> None:
    model = fix_inputs(load(tmp_path, "rated"), {"sr": (8000.0,)}, tmp_path, 1)
    states = np.random.default_rng(0).normal(size=(6, 2, 1, WIDTH)).astype(np.float32)
    dataset = read(tmp_path, model, {"x": np.ones((6, WIDTH), np.float32), "state": states})
    np.testing.assert_array_equal(dataset.sample(4)["state"], states[4])


def test_a_fixed_input_is_no_longer_asked_for_and_means_what_it_did(tmp_path: Path) -> None:
    model = load(tmp_path, "rated")
    feed = {"x": np.ones((1, WIDTH), np.float32), "state": np.zeros((2, 1, WIDTH), np.float32)}
    truth = Session(model.path, 1).run(feed | {"sr": np.array(16000, np.int64)})
    fixed = fix_inputs(model, {"sr": (16000.0,)}, tmp_path, 1)
    assert [spec.name for spec in fixed.inputs] == ["x", "state"]
    for one, other in zip(truth, Session(fixed.path, 1).run(feed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rate": (1.0,)}, "no input 'rate'.*it has 'x', 'state', 'sr'"),
        ({"sr": (1.0, 2.0)}, "has 1 elements, and 2 values"),
        ({"sr": (0.5,)}, "is INT64; fix it at values of that type"),
        ({"x": (0.0,), "state": (0.0,), "sr": (1.0,)}, "All inputs of the model are fixed"),
    ],
)
def test_what_cannot_be_fixed_is_said(tmp_path: Path, values: dict[str, tuple[float, ...]], said: str) -> None:
    with pytest.raises(TaskError, match=said):
        fix_inputs(load(tmp_path, "rated"), values, tmp_path, 1)


def test_a_single_number_that_is_missing_may_be_fixed(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="--fix sr=VALUE"):
        read(tmp_path, load(tmp_path, "rated"), STRANGERS["rated"]().arrays)


@pytest.mark.parametrize("text", ["sr", "=1", "sr=fast", "sr="])
def test_a_fixed_input_is_written_as_name_and_value(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(["m.onnx", "-o", "out", "--fix", text])
    assert ended.value.code == 2
    assert "sr=16000" in capsys.readouterr().err


def test_samples_make_batches_of_the_size_that_is_fixed(tmp_path: Path) -> None:
    model = load(tmp_path, "batched")
    values = np.random.default_rng(0).normal(size=(11, 48)).astype(np.float32)
    dataset = read(tmp_path, model, {"x": values})
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset.sample(1)["x"], values[4:8])


def test_with_labels_each_sample_is_a_batch_of_its_own(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(11, 48)).astype(np.float32)
    labels = np.arange(11) % 4
    dataset = read(tmp_path, load(tmp_path, "batched"), {"x": values, "y": labels})
    assert len(dataset) == 11
    assert dataset.labels is not None
    np.testing.assert_array_equal(dataset.sample(5)["x"], np.repeat(values[5:6], 4, axis=0))


def test_too_few_samples_for_two_batches_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="fixed batch of 4, so that it needs 8 samples"):
        read(tmp_path, load(tmp_path, "batched"), {"x": np.ones((7, 48), np.float32)})


def test_a_sequence_of_maps_becomes_the_tensor_it_is_made_of(tmp_path: Path) -> None:
    stranger = STRANGERS["forest"]()
    model = load(tmp_path, "forest")
    assert [(spec.name, spec.shape) for spec in model.outputs] == [("label", (-1,)), ("maps", (-1, 2))]
    plain = stranger.proto
    del plain.graph.node[1], plain.graph.output[1]
    plain.graph.output.append(onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, None))
    truth = Session(builders.save(plain, tmp_path / "plain.onnx"), 1).run(stranger.arrays)
    for one, other in zip(truth, Session(model.path, 1).run(stranger.arrays), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_rank_that_the_file_does_not_state_follows_from_the_graph(tmp_path: Path) -> None:
    assert load(tmp_path, "unknown rank").outputs[0].shape == (-1, WIDTH)
