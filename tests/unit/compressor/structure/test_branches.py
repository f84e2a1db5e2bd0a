"""Residual branches: found on every architecture, and taken out as if they had added zeros."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.cost import parameters
from edgemodel_compressor.graph.structure import Branch, influence, least, residual_branches, without
from tests.architectures import Exporter, example, export
from tests.unit.compressor import builders
from tests.unit.compressor.structure.running import CASES, outputs, run

BRANCHES = {
    # Blocks whose shortcut is a projection are none.
    "resnet18": 5,
    "resnet26": 4,
    "mobilenet_v2": 10,
    # Attention and feed-forward of two layers.
    "bert": 4,
    "gpt2": 4,
    "vit": 4,
}
"""The others join what they have by Concat, or not at all."""


@cache
def exported(name: str, exporter: Exporter, opset: int) -> tuple[onnx.ModelProto, tuple[Branch, ...]]:
    proto = export(name, exporter, opset)
    return proto, residual_branches(proto)


def silenced(proto: onnx.ModelProto, branches: list[Branch]) -> onnx.ModelProto:
    """A copy of ``proto`` in which ``branches`` add zeros."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nothing"))
    skips = {branch.joint: branch.skip for branch in branches}
    nodes = list(copy.graph.node)
    del copy.graph.node[:]
    for node in nodes:
        if node.output[0] in skips:
            position = 1 - list(node.input).index(skips[node.output[0]])
            silent = f"{node.output[0]}.silent"
            copy.graph.node.append(helper.make_node("Mul", [node.input[position], "nothing"], [silent]))
            node.input[position] = silent
        copy.graph.node.append(node)
    return copy


@pytest.mark.parametrize(("name", "exporter", "opset"), CASES)
def test_every_architecture_has_the_branches_that_its_paper_draws(name: str, exporter: Exporter, opset: int) -> None:
    _, branches = exported(name, exporter, opset)
    assert len(branches) == BRANCHES.get(name, 0)
    assert len({branch.name for branch in branches}) == len(branches)


@pytest.mark.parametrize(("name", "exporter", "opset"), [case for case in CASES if case[0] in BRANCHES])
@settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_to_take_branches_out_is_to_have_them_add_zeros(
    name: str, exporter: Exporter, opset: int, data: st.DataObject
) -> None:
    proto, branches = exported(name, exporter, opset)
    gone = [branch for branch in branches if data.draw(st.booleans(), branch.name)]
    smaller = without(proto, gone)
    onnx.checker.check_model(smaller, full_check=True)
    expected = run(silenced(proto, gone), example(name))
    np.testing.assert_allclose(run(smaller, example(name)), expected, rtol=0, atol=1e-4 * max(0.1, abs(expected).max()))
    assert smaller.graph.input == proto.graph.input
    assert smaller.graph.output == proto.graph.output
    assert (parameters(smaller) < parameters(proto)) == bool(gone)


def stacked(*deviations: float) -> onnx.ModelProto:
    """x + Wx, again and again, the weights W of these deviations; the last sum is the output."""
    rng = np.random.default_rng(0)
    nodes, weights, before = [], {}, "x"
    for index, deviation in enumerate(deviations):
        weights[f"w{index}"] = (deviation * rng.standard_normal((8, 8))).astype(np.float32)
        after = "y" if index == len(deviations) - 1 else f"h{index}"
        nodes.append(helper.make_node("MatMul", [before, f"w{index}"], [f"b{index}"]))
        nodes.append(helper.make_node("Add", [f"b{index}", before], [after]))
        before = after
    return builders.model(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])],
        weights,
    )


def test_what_changes_least_goes_first(tmp_path: Path) -> None:
    proto = stacked(1.0, 0.0, 0.1)
    branches = residual_branches(proto)
    assert [branch.name for branch in branches] == ["w0", "w1", "w2"]
    feeds = [{"x": row[None]} for row in np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)]
    found = influence(builders.save(proto, tmp_path / "m.onnx"), branches, feeds, tmp_path)
    assert found[1] == pytest.approx(0.0, abs=1e-6)
    assert found[1] < found[2] < found[0]
    assert [branch.name for branch in least(branches, found, 0.34)] == ["w1"]
    assert [branch.name for branch in least(branches, found, 0.67)] == ["w1", "w2"]
    assert least(branches, found, 0.1) == ()
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"], "nothing is left behind"


def test_of_equal_branches_the_first_goes() -> None:
    branches = residual_branches(stacked(1.0, 1.0))
    assert least(branches, [0.5, 0.5], 0.5) == branches[:1]


def test_a_model_may_end_in_a_branch_that_goes() -> None:
    proto = stacked(1.0, 1.0)
    smaller = without(proto, residual_branches(proto))
    x = np.arange(8, dtype=np.float32)[None]
    np.testing.assert_array_equal(outputs(smaller, {"x": x})[0], x)
    assert [value.name for value in smaller.graph.output] == ["y"]


def test_a_sum_with_something_else_is_no_branch() -> None:
    """A bias, two branches of one tensor, and a GELU, which adds to x a cube of x, but has no weights."""
    weights = {"w": np.ones((8, 8), np.float32), "v": np.ones((8, 8), np.float32), "b": np.ones(8, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["biased"]),
        helper.make_node("MatMul", ["x", "v"], ["n"]),
        helper.make_node("Add", ["biased", "n"], ["both"]),
        helper.make_node("Mul", ["both", "both"], ["square"]),
        helper.make_node("Mul", ["square", "both"], ["cube"]),
        helper.make_node("Add", ["both", "cube"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("x", "y")]
    assert residual_branches(builders.model(nodes, value[:1], value[1:], weights)) == ()
