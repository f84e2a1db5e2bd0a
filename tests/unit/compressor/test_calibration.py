"""Ranges of activations: one pass over the samples, bounded memory, every method from the same counts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.calibration.histogram import BINS, Histogram
from edgemodel_compressor.graph.quantization.calibration.ranges import range_of
from edgemodel_compressor.graph.quantization.recipe import CalibrationMethod
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.search.evaluation import Evaluation, Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import Quantization, Recipe
from tests.unit.compressor import builders

METHODS: tuple[CalibrationMethod, ...] = ("MinMax", "Entropy", "Percentile")
floats = hnp.arrays(
    np.float32,
    st.integers(0, 50),
    elements=st.floats(-(2.0**20), 2.0**20, width=32, allow_subnormal=False),
)


def counted(*parts: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


@given(st.lists(floats, max_size=6), st.randoms())
def test_the_order_of_the_samples_makes_no_difference(parts: list[builders.Floats], random: object) -> None:
    shuffled = sorted(parts, key=lambda _: random.random())  # type: ignore[attr-defined]
    first, second = counted(*parts), counted(*shuffled)
    assert (first.low, first.high, first.limit, first.zeros) == (second.low, second.high, second.limit, second.zeros)
    assert np.array_equal(first.counts, second.counts)


@given(st.lists(floats, max_size=6))
def test_every_value_is_counted_once_in_as_many_bins(parts: list[builders.Floats]) -> None:
    histogram = counted(*parts)
    assert histogram.counts.shape == (BINS,)
    assert histogram.counts.sum() + histogram.zeros == sum(part.size for part in parts)


@given(st.lists(floats, max_size=6), st.sampled_from(METHODS))
@example([np.ones(1, np.float32)], "Percentile")
def test_a_range_holds_zero_and_stays_within_what_was_seen(
    parts: list[builders.Floats], method: CalibrationMethod
) -> None:
    histogram = counted(*parts)
    low, high = range_of(histogram, method)
    assert min(histogram.low, 0) <= low <= 0 <= high <= max(histogram.high, 0)


def test_minmax_is_exact() -> None:
    values = np.array([-3.25, 0.0, 17.125], np.float32)
    assert range_of(counted(values), "MinMax") == (-3.25, 17.125)


@pytest.mark.parametrize("method", ["Entropy", "Percentile"])
def test_a_lone_outlier_does_not_stretch_the_range(method: CalibrationMethod) -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    values[7] = 300.0
    low, high = range_of(counted(values), method)
    assert -6 < low < -2
    assert 2 < high < 30


def test_what_is_not_finite_is_left_out() -> None:
    histogram = counted(np.array([1.0, np.nan, np.inf, -2.0], np.float32))
    assert (histogram.low, histogram.high) == (-2.0, 1.0)


def test_one_pass_serves_every_method(shared: Path, tmp_path: Path) -> None:
    values, _ = builders.blobs(20, (48,))
    calls: list[None] = []
    feeds = ({"x": values[index : index + 1]} for index in range(20))
    calibration = calibrate(shared / "mlp.onnx", feeds, tmp_path, lambda: calls.append(None))
    assert len(calls) == calibration.samples == 20
    for method in METHODS:
        assert {"x", "scores"} <= calibration.ranges(method).keys()
        assert calibration.ranges(method) is calibration.ranges(method)
    assert calibration.ranges("MinMax")["x"] == (float(values.min()), float(values.max()))


def test_a_calibration_does_not_depend_on_the_number_of_cpus(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, _ = builders.blobs(20, (1, 12, 12))

    def counted_on(cpus: int) -> list[object]:
        builders.have_cpus(monkeypatch, cpus)
        feeds = ({"image": values[index : index + 1]} for index in range(20))
        found = calibrate(shared / "conv.onnx", feeds, tmp_path)
        means = {name: mean.tobytes() for name, mean in found.means.items()}
        counts = {name: (seen.low, seen.high, seen.counts.tobytes()) for name, seen in found.histograms.items()}
        return [found.samples, means, counts]

    alone = counted_on(1)
    assert alone[1]
    assert alone == counted_on(2) == counted_on(16)


def test_no_samples_is_a_sentence(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="no samples"):
        calibrate(shared / "mlp.onnx", [], tmp_path)


@pytest.mark.parametrize(("named", "most"), [(None, 256), (12, 12)])
def test_the_recipe_bounds_the_samples_that_calibrate(
    shared: Path, tmp_path: Path, settings: Settings, named: int | None, most: int
) -> None:
    values = builders.blobs(400, (48,))[0]
    recipe = Recipe(mode="Manual", quantization=Quantization(method="Static"), calibration_samples=named)
    model = load_model(shared / "mlp.onnx", "", (), 1)
    parts = Evaluation.set_up(Job(model, Dataset({"x": values}, None), recipe, 1, tmp_path, settings)).parts
    assert parts is not None
    assert len(parts.calibration) <= most
    assert len(parts.calibration) + len(parts.evaluation) == 400
