"""Causal models keep their answers in static integers, whatever number their mask forbids a place with."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import noise_ratio, sensitivity
from edgemodel_compressor.graph.quantization.recipe import CalibrationMethod, QuantizationRecipe
from edgemodel_compressor.onnxmodel.runtime import Feed, Session
from tests.unit.compressor import builders

PLACES, WIDTH = 12, 32
FEEDS: list[Feed] = [
    {"x": np.random.default_rng(seed).normal(size=(1, PLACES, WIDTH)).astype(np.float32)} for seed in range(24)
]
FORBIDDEN = (-1e4, -1e9, float(np.finfo(np.float32).min), -np.inf)


def causal(forbidden: float, dense: bool) -> onnx.ModelProto:
    """One attention over ``x`` (1, PLACES, WIDTH) that looks back only, and a layer after it.

    The scores are those of query and key; or, if ``dense``, what a layer says of each place (Tay et al., 2020).
    """
    rng = np.random.default_rng(2)

    def layer(outputs: int) -> builders.Floats:
        values: builders.Floats = (rng.normal(size=(WIDTH, outputs)) / np.sqrt(WIDTH)).astype(np.float32)
        return values

    weights = {"value.w": layer(WIDTH), "last.w": layer(WIDTH)}
    weights["mask"] = np.triu(np.full((PLACES, PLACES), forbidden, np.float32), 1)
    if dense:
        weights["places.w"] = layer(PLACES)
        scores = [helper.make_node("MatMul", ["x", "places.w"], ["scores"], name="scores")]
    else:
        weights |= {"query.w": layer(WIDTH), "key.w": layer(WIDTH)}
        scores = [
            helper.make_node("MatMul", ["x", "query.w"], ["query"], name="query"),
            helper.make_node("MatMul", ["x", "key.w"], ["key"], name="key"),
            helper.make_node("Transpose", ["key"], ["turned"], name="turn", perm=[0, 2, 1]),
            helper.make_node("MatMul", ["query", "turned"], ["scores"], name="scores"),
        ]
    return builders.model(
        [
            *scores,
            helper.make_node("Add", ["scores", "mask"], ["masked"], name="masking"),
            helper.make_node("Softmax", ["masked"], ["shares"], name="softmax", axis=-1),
            helper.make_node("MatMul", ["x", "value.w"], ["value"], name="value"),
            helper.make_node("MatMul", ["shares", "value"], ["mixed"], name="mix"),
            helper.make_node("MatMul", ["mixed", "last.w"], ["y"], name="last"),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, PLACES, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, PLACES, WIDTH])],
        weights=weights,
    )


@pytest.mark.parametrize("method", ["MinMax", "Percentile", "Entropy"])
@pytest.mark.parametrize("dense", [False, True], ids=["query-and-key", "dense"])
@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_static_integers_answer_as_the_floats(
    tmp_path: Path, forbidden: float, dense: bool, method: CalibrationMethod
) -> None:
    source, target = builders.save(causal(forbidden, dense), tmp_path / "causal.onnx"), tmp_path / "static.onnx"
    calibration = calibrate(source, FEEDS, tmp_path)
    recipe = QuantizationRecipe("Static", calibration=method)
    quantize(source, target, recipe, calibration, target_cpu("Any"), tmp_path)
    truth, answer = ([Session(path, 1).run(feed)[0] for feed in FEEDS] for path in (source, target))
    assert noise_ratio(truth, answer) < 0.01
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(target).graph.node}


@pytest.mark.parametrize("forbidden", FORBIDDEN)
def test_masking_is_no_suspect_because_it_stays_in_float(tmp_path: Path, forbidden: float) -> None:
    source = builders.save(causal(forbidden, dense=True), tmp_path / "causal.onnx")
    calibration = calibrate(source, FEEDS, tmp_path)
    ranking = sensitivity(source, FEEDS[:4], QuantizationRecipe("Static"), calibration, target_cpu("Any"), tmp_path)
    assert {item.node for item in ranking} == {"scores", "value", "last"}
    assert all(item.noise < 0.01 for item in ranking)
