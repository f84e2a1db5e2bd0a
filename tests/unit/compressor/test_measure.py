"""Latency and size, as they will be met in service."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgemodel_compressor.evaluate.latency import (
    MAX_RUNS,
    MIN_RUNS,
    arbitrary_feed,
    cpu_name,
    latency_round,
)
from edgemodel_compressor.registry.layer import compressed_size
from edgemodel_contract.task import TensorSpec
from tests.unit.compressor import builders


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
