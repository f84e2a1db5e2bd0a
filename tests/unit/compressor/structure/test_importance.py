"""How much a unit matters: hand-made weights with known norms, and an average of one in every group."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgemodel_compressor.graph.structure import activation, analyse, magnitude, taylor
from edgemodel_compressor.graph.structure.importance import NARROW, NARROWED
from tests.architectures import Exporter, example, export
from tests.unit.compressor import builders
from tests.unit.compressor.structure.running import outputs

FIRST = np.array([[3, 0, 1], [4, 0, 2]], np.float32)
BIAS = np.array([0, 0, 2], np.float32)
SECOND = np.array([[0, 0], [0, 6], [4, 0]], np.float32)


def three_units() -> onnx.ModelProto:
    """Two features, three hidden units, two outputs."""
    model = builders.mlp(features=2, hidden=3, classes=2)
    for tensor in model.graph.initializer:
        values = {"w1": FIRST, "b1": BIAS, "w2": SECOND}.get(tensor.name)
        if values is not None:
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def test_magnitude_is_the_norm_of_all_that_goes_with_a_unit() -> None:
    model = three_units()
    (scores,) = magnitude(model, analyse(model)).values()
    norms = np.array([5, 6, 5])  # √(3²+4²), 6, √(1²+2²+2²+4²)
    assert scores == pytest.approx(norms / norms.mean())


def test_taylor_is_the_sum_of_weights_times_gradients() -> None:
    model = three_units()
    gradients = {"w1": np.full((2, 3), -1, np.float32), "w2": np.full((3, 2), 0.5, np.float32)}
    (scores,) = taylor(model, analyse(model), gradients).values()
    sums = np.array([7, 3, 5])  # the bias has no gradient here
    assert scores == pytest.approx(sums / sums.mean())


def test_a_gradient_of_another_shape_is_an_error() -> None:
    model = three_units()
    with pytest.raises(ValueError, match="gradient of w1"):
        taylor(model, analyse(model), {"w1": np.zeros((3, 2), np.float32)})


def test_without_gradients_units_are_alike() -> None:
    model = three_units()
    (scores,) = taylor(model, analyse(model), {}).values()
    assert scores.tolist() == [1, 1, 1]


def test_activation_is_what_the_next_layer_reads_on_average() -> None:
    model = three_units()
    feeds = [{"x": np.array(rows, np.float32)} for rows in ([[1, 0], [0, 1]], [[2, -1], [-3, 0]])]
    (scores,) = activation(model, analyse(model), lambda probe: [outputs(probe, feed) for feed in feeds]).values()
    hidden = np.maximum(np.concatenate([feed["x"] for feed in feeds]) @ FIRST + BIAS, 0).mean(axis=0)
    assert hidden.tolist() == [2.25, 0, 2.25]
    assert scores == pytest.approx(hidden / hidden.mean())


@pytest.mark.parametrize(("exporter", "opset"), [("torchscript", 14), ("dynamo", 23)])
def test_activation_rates_every_unit_of_a_transformer(exporter: Exporter, opset: int) -> None:
    model = export("vit", exporter, opset)
    analysis = analyse(model)
    scores = activation(model, analysis, lambda probe: [outputs(probe, example("vit"))])
    for group in analysis.groups:
        assert len(np.unique(scores[group.name])) == group.units
        assert scores[group.name].mean() == pytest.approx(1)


def test_scores_of_every_group_average_one_or_more_where_convolutions_have_few_channels() -> None:
    model = export("mobilenet_v2", "torchscript", 17)
    analysis = analyse(model)
    scores = magnitude(model, analysis)
    assert {name: len(values) for name, values in scores.items()} == {
        group.name: group.units for group in analysis.groups
    }
    few = [group.name for group in analysis.groups if group.units <= NARROW]
    assert few
    assert [scores[name].mean() for name in few] == pytest.approx([NARROWED] * len(few))
    assert all(values.mean() == pytest.approx(1) for name, values in scores.items() if name not in few)
    assert all(values.min() >= 0 for values in scores.values())
