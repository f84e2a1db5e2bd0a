"""What is measured, and against what."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.dataset import Dataset
from edgemodel_compressor.layer import compressed_size
from edgemodel_compressor.measure import (
    MAX_RUNS,
    MIN_RUNS,
    Judge,
    Samples,
    arbitrary_feed,
    classes_of,
    cpu_name,
    latency_round,
)
from edgemodel_contract.task import TensorSpec
from tests.unit.compressor import builders


def scaler(path: Path, factor: float, offset: float = 0.0) -> Path:
    """y = factor · x + offset, on (1, 3)."""
    model = builders.model(
        [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Add", ["m", "o"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        {"f": np.array([factor], np.float32), "o": np.array([0, 0, offset], np.float32)},
    )
    return builders.save(model, path)


def samples(labels: list[int] | None = None) -> Samples:
    values = np.array([[3, 2, 1], [1, 3, 2], [1, 2, 3], [9, 2, 3]], np.float32)
    dataset = Dataset({"x": values}, None if labels is None else np.array(labels))
    return Samples(dataset, np.arange(4))


def test_top1_is_the_share_of_right_labels(tmp_path: Path) -> None:
    judge = Judge(samples([0, 1, 0, 0]), "top1")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None) == (0.75, 4)
    assert judge.score(scaler(tmp_path / "b.onnx", 1, offset=100), 1, lambda _: None) == (0.0, 4)


def test_agreement_is_with_the_original_which_agrees_with_itself(tmp_path: Path) -> None:
    judge = Judge(samples(), "agreement")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None) == (1.0, 4)
    assert judge.score(scaler(tmp_path / "b.onnx", 5), 1, lambda _: None) == (1.0, 4)
    assert judge.score(scaler(tmp_path / "c.onnx", 1, offset=5), 1, lambda _: None) == (0.5, 4)


def test_cosine_is_with_the_originals_outputs(tmp_path: Path) -> None:
    judge = Judge(samples(), "cosine")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None)[0] == 1.0
    assert judge.score(scaler(tmp_path / "b.onnx", 2), 1, lambda _: None)[0] == 1.0
    assert judge.score(scaler(tmp_path / "c.onnx", -1), 1, lambda _: None)[0] == -1.0
    turned = judge.score(scaler(tmp_path / "d.onnx", 1, offset=5), 1, lambda _: None)[0]
    assert 0.4 < turned < 1


def test_whole_outputs_are_remembered_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemodel_compressor.measure.REFERENCE_BYTES", 20)
    judge = Judge(samples(), "cosine")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None)[1] == 2
    assert judge.score(scaler(tmp_path / "b.onnx", 1), 1, lambda _: None)[1] == 2


@pytest.mark.parametrize(
    ("shape", "datatype", "classes"),
    [
        ((1, 10), "FP32", 10),
        ((-1, 3), "FP16", 3),
        ((-1, -1), "FP32", 0),
        ((1, 1), "FP32", None),
        ((1, 10), "INT64", None),
        ((1, 3, 8, 8), "FP32", None),
        ((4, 10), "FP32", None),
        ((10,), "FP32", None),
    ],
)
def test_a_classifier_is_known_by_its_first_output(shape: tuple[int, ...], datatype: str, classes: int | None) -> None:
    spec = TensorSpec(name="y", datatype=datatype, shape=shape)  # type: ignore[arg-type]
    assert classes_of([spec]) == classes


def test_a_round_of_timing_is_bounded_both_ways(shared: Path) -> None:
    feed = {"x": np.zeros((1, 48), np.float32)}
    assert len(latency_round(shared / "mlp.onnx", 1, feed, 0.0)) == MIN_RUNS
    runs = latency_round(shared / "mlp.onnx", 1, feed, 60.0)
    assert len(runs) == MAX_RUNS
    assert min(runs) > 0


def test_values_for_timing_fit_any_input() -> None:
    feed = arbitrary_feed(
        [
            TensorSpec(name="a", datatype="FP16", shape=(-1, 3)),
            TensorSpec(name="b", datatype="INT64", shape=(1, 2)),
            TensorSpec(name="c", datatype="BOOL", shape=()),
        ]
    )
    assert (feed["a"].shape, feed["a"].dtype.name) == ((1, 3), "float16")
    assert (feed["b"].tolist(), feed["b"].dtype.name) == ([[0, 0]], "int64")
    assert feed["c"].shape == ()


def test_zeros_make_the_layer_smaller_and_not_the_file(tmp_path: Path) -> None:
    model = builders.mlp()
    full = builders.save(model, tmp_path / "full.onnx")
    zeros = np.zeros((48, 160), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(zeros, "w1"))
    empty = builders.save(model, tmp_path / "empty.onnx")
    assert full.stat().st_size == empty.stat().st_size
    assert compressed_size(empty) < 0.3 * compressed_size(full)
    assert onnx.load(empty).graph.initializer[0].name == "w1"


def test_the_cpu_has_a_name() -> None:
    assert cpu_name().strip()
