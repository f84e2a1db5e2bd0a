"""How much a unit matters: hand-made weights with known norms and gradients."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgemodel_compressor.graph.cost import macs, parameters
from edgemodel_compressor.graph.structure import Selection, activation, analyse, magnitude, remove, taylor
from edgemodel_compressor.graph.structure.importance.expense import ARITHMETIC_WEIGHT, expenses
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


def test_taylor_is_the_sum_of_weights_times_gradients_for_what_a_unit_takes() -> None:
    model = three_units()
    gradients = {"w1": np.full((2, 3), -1, np.float32), "w2": np.full((3, 2), 0.5, np.float32)}
    (scores,) = taylor(model, analyse(model), gradients).values()
    sums = np.array([7, 3, 5])  # the bias has no gradient here
    taken = 5 / 17 + ARITHMETIC_WEIGHT * 1 / 3  # of 17 weights, and of 12 multiplications
    assert scores == pytest.approx(sums / np.sqrt(sums.mean() * taken))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2", "densenet", "unet"])
def test_a_unit_takes_what_the_model_is_smaller_and_faster_by_without_it(name: str) -> None:
    model = export(name, "torchscript", 17)
    analysis = analyse(model)
    before = np.array([parameters(model), macs(model)])
    for group, taken in expenses(model, analysis).items():
        rest = remove(model, Selection(analysis, {group: (0,)}))
        shares = 1 - np.array([parameters(rest), macs(rest)]) / before
        assert taken == pytest.approx(shares @ [1, ARITHMETIC_WEIGHT], rel=0.02), group


def test_a_group_that_loses_little_scores_low() -> None:
    """But not as low as it would, if groups did not share: a tenth of the loss is a third of the score."""
    model = three_units()
    analysis = analyse(model)
    gradient = np.ones((2, 3), np.float32)
    (scores,) = taylor(model, analysis, {"w1": gradient}).values()
    (fewer,) = taylor(model, analysis, {"w1": gradient / 10}).values()
    assert fewer == pytest.approx(scores / np.sqrt(10))


def test_a_gradient_of_another_shape_is_an_error() -> None:
    model = three_units()
    with pytest.raises(ValueError, match="gradient of w1"):
        taylor(model, analyse(model), {"w1": np.zeros((3, 2), np.float32)})


def test_without_gradients_units_are_alike() -> None:
    model = three_units()
    (scores,) = taylor(model, analyse(model), {}).values()
    assert scores.tolist() == [0, 0, 0]


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


def test_norms_of_every_group_average_one() -> None:
    model = export("mobilenet_v2", "torchscript", 17)
    analysis = analyse(model)
    scores = magnitude(model, analysis)
    assert {name: len(values) for name, values in scores.items()} == {
        group.name: group.units for group in analysis.groups
    }
    assert all(values.mean() == pytest.approx(1) for values in scores.values())
    assert all(values.min() >= 0 for values in scores.values())
