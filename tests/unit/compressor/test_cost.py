"""MACs and parameters, against counts by hand."""

import math

import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.cost import macs, macs_per_weight, parameters
from edgemodel_compressor.graph.shapes import tensor_shapes
from tests.architectures import Exporter, export
from tests.unit.compressor import builders


def test_an_mlp() -> None:
    model = builders.mlp(features=48, hidden=160, classes=4)
    assert parameters(model) == 48 * 160 + 160 + 160 * 4 + 4
    assert macs(model, {"x": (1, 48)}) == 48 * 160 + 160 * 4
    assert macs(model, {"x": (8, 48)}) == 8 * macs(model, {"x": (1, 48)})
    assert macs(model) == 2 * macs(model, {"x": (1, 48)})


def test_convolutions() -> None:
    model = builders.convnet(channels=24, side=12)
    assert macs(model) == 24 * 10 * 10 * 9 + 24 * 8 * 8 * 24 * 9 + 24 * 4 * 4 * 4


def test_a_kernel_is_multiplied_with_at_every_position() -> None:
    model = builders.convnet(channels=24, side=12)
    assert sorted(macs_per_weight(model, tensor_shapes(model)).values()) == [1, 8 * 8, 10 * 10]


@pytest.mark.parametrize(
    ("name", "exporter", "opset"),
    [
        ("resnet18", "dynamo", 23),
        ("unet", "torchscript", 17),
        ("lstm", "torchscript", 17),
        ("mobilenet_v2", "dynamo", 23),
    ],
)
def test_all_weights_together_are_multiplied_with_as_often_as_the_model_says(
    name: str, exporter: Exporter, opset: int
) -> None:
    model = export(name, exporter, opset)
    shapes = tensor_shapes(model)
    uses = macs_per_weight(model, shapes)
    assert sum(count * math.prod(shapes[weight]) for weight, count in uses.items()) == pytest.approx(macs(model))


def test_depthwise_and_transposed_convolutions() -> None:
    model = builders.model(
        [
            helper.make_node("Conv", ["x", "k"], ["a"], group=8, kernel_shape=[3, 3]),
            helper.make_node("ConvTranspose", ["a", "t"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5, 8, 8])],
    )
    for name, shape in (("k", [8, 1, 3, 3]), ("t", [8, 5, 2, 2])):
        model.graph.initializer.append(
            helper.make_tensor(name, TensorProto.FLOAT, shape, [1.0] * (72 if name == "k" else 160))
        )
    assert macs(model) == 8 * 4 * 4 * 9 + 8 * 4 * 4 * 5 * 2 * 2


def test_both_exporters_and_a_fused_operator_cost_the_same() -> None:
    """Attention as one operator, and as two products."""
    assert macs(export("gpt2", "dynamo", 23)) == macs(export("gpt2", "torchscript", 14))


def test_an_lstm_counts_its_gates_at_every_step() -> None:
    cells = 2 * (10 * 2 * (4 * 32 * 32 + 4 * 32 * 32))
    assert macs(export("lstm", "torchscript", 17)) == cells + 2 * (32 * 128 + 128 * 4)


def test_a_shape_that_cannot_be_told_is_named() -> None:
    model = builders.model(
        [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
         helper.make_node("MatMul", ["f", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    )  # fmt: skip
    with pytest.raises(NotApplicableError, match="shape of f cannot be told"):
        macs(model)
