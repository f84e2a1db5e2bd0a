"""Throughput by threads: which counts, in which order, and never for long."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.evaluate.throughput import by_threads, thread_counts
from tests.unit.compressor import builders

FEED = {"x": np.zeros((1, 48), np.float32)}


@pytest.mark.parametrize(
    ("cpus", "counts"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_powers_of_two_and_all_cpus(cpus: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cpus) == counts


def test_the_larger_of_two_models_has_less(shared: Path, tmp_path: Path) -> None:
    slow = builders.save(
        builders.model(
            [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 48])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3000])],
            {"a": np.ones((48, 3000), np.float32), "b": np.ones((3000, 3000), np.float32)},
        ),
        tmp_path / "slow.onnx",
    )
    measured = by_threads(slow, shared / "mlp.onnx", FEED, 3, 0.1, lambda: 0.0)
    assert [item.threads for item in measured] == [1, 2, 3]
    assert all(item.chosen is not None and item.chosen > item.original > 0 for item in measured)


def test_the_original_alone_is_measured_once(shared: Path) -> None:
    (measured,) = by_threads(shared / "mlp.onnx", shared / "mlp.onnx", FEED, 1, 0.05)
    assert measured.original > 0
    assert measured.chosen is None


def test_when_time_is_up_one_thread_and_all_are_enough(shared: Path) -> None:
    ticks = count()
    measured = by_threads(shared / "mlp.onnx", shared / "mlp.onnx", FEED, 5, 2.0, lambda: float(next(ticks)))
    assert [item.threads for item in measured] == [1, 2, 5]
