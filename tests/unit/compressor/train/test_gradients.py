"""Gradients by weight: those of the loss, as small changes of a weight show it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from edgemodel_compressor.train.gradients import gradients
from tests.unit.compressor.train import digits
from tests.unit.compressor.train.test_recover import regression

COUNT = 48
STEP = 1e-2


def chosen(rows: NDArray[Any]) -> NDArray[Any]:
    """Every so many of all samples."""
    picked: NDArray[Any] = rows[np.linspace(0, len(rows) - 1, COUNT).round().astype(int)]
    return picked


def moved(proto: onnx.ModelProto, name: str, index: tuple[int, ...], by: float) -> onnx.ModelProto:
    """``proto`` with one number of one weight another."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensor = next(each for each in copy.graph.initializer if each.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[index] += by
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def cross_entropy(proto: onnx.ModelProto, x: NDArray[Any], labels: NDArray[Any]) -> float:
    scores = digits.run(proto, {"x": x}).astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return float(-logs[np.arange(len(labels)), labels].mean())


def steepest(values: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(at) for at in np.unravel_index(np.abs(values).argmax(), values.shape))


@pytest.mark.parametrize("name", ["conv1.weight", "scale", "conv2.bias", "fc.weight"])
def test_they_are_the_slopes_of_the_loss(name: str) -> None:
    proto, data = digits.convnet(), digits.digits()
    x = data.x.reshape(-1, 1, 8, 8)
    found = gradients(proto, {"x": x}, data.y, None, samples=COUNT)
    index = steepest(found[name])
    losses = [cross_entropy(moved(proto, name, index, by), chosen(x), chosen(data.y)) for by in (-STEP, STEP)]
    assert found[name][index] == pytest.approx((losses[1] - losses[0]) / (2 * STEP), rel=0.05)


def test_without_labels_class_scores_are_taken_at_their_word() -> None:
    proto, x = digits.two_layers(), digits.digits().x
    likely = digits.run(proto, {"x": x})
    own = gradients(proto, {"x": x}, None, None, samples=COUNT)
    told = gradients(proto, {"x": x}, None, [likely], samples=COUNT)
    labelled = gradients(proto, {"x": x}, likely.argmax(axis=1), None, samples=COUNT)
    for name, values in labelled.items():
        assert values.any()
        np.testing.assert_allclose(own[name], values, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(told[name], values, rtol=1e-5, atol=1e-7)


def outputs(proto: onnx.ModelProto, x: NDArray[Any]) -> Sequence[NDArray[Any]]:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return [(x @ values["w"]).reshape(-1, 2, 3), x @ values["v"]]


def test_other_outputs_are_compared_with_the_teacher_or_with_zero() -> None:
    proto, x = regression(), digits.digits().x
    same = gradients(proto, {"x": x}, None, outputs(proto, x), samples=COUNT)
    assert max(float(np.abs(values).max()) for values in same.values()) < 1e-5
    alone = gradients(proto, {"x": x}, None, None, samples=COUNT)
    rows, first = chosen(x), chosen(outputs(proto, x)[0]).reshape(COUNT, 6)
    # Half of the mean of y², over the two outputs: its gradient by w is xᵀy / 6 per sample.
    np.testing.assert_allclose(alone["w"], rows.T @ first / (6 * COUNT), rtol=1e-3, atol=1e-5)


def test_squares_do_not_cancel_out() -> None:
    proto, data = digits.two_layers(), digits.digits()
    mean = gradients(proto, {"x": data.x}, data.y, None, samples=COUNT)
    squared = gradients(proto, {"x": data.x}, data.y, None, samples=COUNT, squared=True)
    for name, values in squared.items():
        assert (values >= mean[name] ** 2 - 1e-9).all()


def test_more_samples_than_there_are_is_all_of_them() -> None:
    proto, data = digits.two_layers(), digits.digits()
    every = gradients(proto, {"x": data.x[:40]}, data.y[:40], None, samples=40)
    more = gradients(proto, {"x": data.x[:40]}, data.y[:40], None, samples=4000)
    assert all(np.array_equal(every[name], more[name]) for name in every)
