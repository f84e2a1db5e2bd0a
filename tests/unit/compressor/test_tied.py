"""Tied weights: what looks words up and what scores them stay one through every method that stores integers."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import helper

from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import calibrate
from edgemodel_compressor.graph.quantization.cpu import target_cpu
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import noise_ratio
from edgemodel_compressor.graph.quantization.prepare import prepare
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.onnxmodel.runtime import Session
from tests.unit.compressor import builders
from tests.unit.compressor.strangers import STRANGERS

WORDS = 200
RECIPES = (
    QuantizationRecipe("Static"),
    QuantizationRecipe("Static", per_channel=False),
    QuantizationRecipe("Dynamic"),
    QuantizationRecipe("Dynamic", columns=True),
    QuantizationRecipe("WeightOnly", widened=True),
    QuantizationRecipe("FP16"),
)


def make(proto: onnx.ModelProto, recipe: QuantizationRecipe, folder: Path) -> tuple[Path, Path]:
    source, target = builders.save(proto, folder / "model.onnx"), folder / "made.onnx"
    prepared = prepare(source, folder)
    ids = STRANGERS["tied"]().arrays["ids"]
    feeds = ({"ids": row[None]} for row in ids)
    calibration = calibrate(prepared, feeds, folder) if recipe.method == "Static" else None
    quantize(prepared, target, recipe, calibration, target_cpu("Any"), folder)
    return source, target


def tables(path: Path) -> list[onnx.TensorProto]:
    """Scales, of which there is one for each word, are none."""
    found = [tensor for tensor in onnx.load(path).graph.initializer if WORDS in tensor.dims and len(tensor.dims) == 2]
    return [tensor for tensor in found if min(tensor.dims) > 1]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_table_is_stored_once(tmp_path: Path, recipe: QuantizationRecipe) -> None:
    source, target = make(STRANGERS["tied"]().proto, recipe, tmp_path)
    onnx.checker.check_model(onnx.load(target))
    (table,) = tables(target)
    assert len(table.raw_data) == WORDS * 32 * (2 if recipe.method == "FP16" else 1)
    assert target.stat().st_size < (0.55 if recipe.method == "FP16" else 0.36) * source.stat().st_size
    sessions = [Session(path, 1) for path in (source, target)]
    before, after = ([session.run({"ids": np.arange(WORDS).reshape(8, 25)})[0]] for session in sessions)
    assert noise_ratio(before, after) < 5e-3


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("turned", [True, False], ids=["a turned copy", "the table itself"])
def test_weights_alone_are_stored_once_and_both_read_them(tmp_path: Path, bits: Literal[4, 8], turned: bool) -> None:
    proto = STRANGERS["tied"]().proto
    if not turned:
        # A product of rows, as exporters write it that fold no constants.
        (turn,) = (node for node in proto.graph.node if node.op_type == "Transpose")
        product = next(node for node in proto.graph.node if "across" in node.input)
        proto.graph.node.remove(turn)
        product.op_type, product.input[0], product.input[1] = "Gemm", "flat", "table"
        product.attribute.append(onnx.helper.make_attribute("transB", 1))
        place = list(proto.graph.node).index(product)
        proto.graph.node.insert(place, onnx.helper.make_node("Reshape", ["r", "rows"], ["flat"], name="flat"))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 32], np.int64), "rows"))
        del proto.graph.output[0].type.tensor_type.shape.dim[1]
    source, target = make(proto, QuantizationRecipe("WeightOnly", bits=bits), tmp_path)
    stored = [
        tensor
        for tensor in onnx.load(target).graph.initializer
        if tensor.data_type == onnx.TensorProto.UINT8 and WORDS in tensor.dims
    ]
    assert [len(tensor.raw_data) for tensor in stored] == [WORDS * 32 * bits // 8]
    sessions = [Session(path, 1) for path in (source, target)]
    before, after = ([session.run({"ids": np.arange(WORDS).reshape(8, 25)})[0]] for session in sessions)
    assert noise_ratio(before, after) < (5e-4 if bits == 8 else 5e-2)


@pytest.mark.parametrize("is_looked_up", [True, False])
def test_a_square_weight_that_is_read_both_as_it_is_and_turned_is_read_as_each_says(
    tmp_path: Path, is_looked_up: bool
) -> None:
    generator = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("Gemm", ["x", "w"], ["b"], name="b", transB=1),
    ]
    outputs = ["a", "b"]
    if is_looked_up:
        nodes.append(helper.make_node("Gather", ["w", "ids"], ["c"], name="c"))
        outputs.append("c")
    model = builders.model(
        nodes,
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["M", 64]) for name in outputs],
        {"w": generator.standard_normal((64, 64)).astype(np.float32)}
        | ({"ids": np.array([5, 1, 63], np.int64)} if is_looked_up else {}),
    )
    source = builders.save(model, tmp_path / "model.onnx")
    target = tmp_path / "made.onnx"
    quantize(prepare(source, tmp_path), target, QuantizationRecipe("WeightOnly"), None, target_cpu("Any"), tmp_path)
    feed = {"x": generator.standard_normal((8, 64)).astype(np.float32)}
    for before, after in zip(*(Session(path, 1).run(feed) for path in (source, target)), strict=True):
        assert noise_ratio([before], [after]) < 5e-4


def test_two_tables_that_differ_stay_two(tmp_path: Path) -> None:
    proto = STRANGERS["tied"]().proto
    (turn,) = (node for node in proto.graph.node if node.op_type == "Transpose")
    other = next(tensor for tensor in proto.graph.initializer if tensor.name == "table")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(other), "other"))
    turn.input[0] = "other"
    _, target = make(proto, QuantizationRecipe("Static"), tmp_path)
    assert len(tables(target)) == 2
