"""A graph in torch: the same answers as in ONNX Runtime, and a gradient for every weight."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from torch import nn

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.train.network.module import GraphModule
from tests import architectures
from tests.unit.compressor import builders
from tests.unit.compressor.train import digits

EXPORTS = [
    (name, exporter, opset)
    for name in architectures.NAMES
    for exporter in ("torchscript", "dynamo")
    for opset in architectures.opsets(name, exporter)
]
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def check(proto: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> GraphModule:
    """Compare all outputs for ``feed``, to 1e-4; the module, with gradients."""
    module = GraphModule(proto)
    outputs = module(*(torch.from_numpy(feed[name]) for name in module.inputs))
    expected = InferenceSession(proto.SerializeToString()).run(None, dict(feed))
    for output, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.detach().numpy(), wanted, rtol=1e-4, atol=1e-4)
    if module.weights:
        outputs[0].square().sum().backward()
    return module


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("name", "exporter", "opset"), EXPORTS)
def test_every_architecture_answers_as_in_onnx_runtime_and_every_weight_has_a_gradient(
    name: str, exporter: architectures.Exporter, opset: int
) -> None:
    proto = architectures.export(name, exporter, opset)
    module = check(proto, architectures.example(name))
    without = [weight for weight, value in module.weights.items() if value.grad is None or not value.grad.any()]
    assert not without
    trained = sum(weight.numel() for weight in module.weights.values())
    parameters = list(architectures.module(name).parameters())
    # Exporters fold batch norms into convolutions, and store a matrix twice that is used transposed, too.
    assert sum(each.numel() for each in parameters if each.ndim > 1) <= trained
    assert trained <= sum(each.numel() for each in parameters) * 1.1


def test_running_statistics_are_no_weights_and_stay() -> None:
    module = check(digits.convnet(), {"x": floats(2, 1, 8, 8)})
    assert set(module.weights) == {
        "conv1.weight",
        "scale",
        "shift",
        "conv2.weight",
        "conv2.bias",
        "fc.weight",
        "fc.bias",
    }


def test_what_shares_its_tensor_with_a_statistic_is_not_trained() -> None:
    proto = digits.convnet()
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    norm.input[2] = norm.input[3]
    assert {"mean", "shift"}.isdisjoint(GraphModule(proto).weights)


def test_weights_are_found_behind_constants_and_layout_and_masks_and_formulas_are_none() -> None:
    weight = numpy_helper.from_array(floats(3, 4), "")
    never = np.where(np.arange(3) > 1, -np.inf, 0).astype(np.float32)
    proto = builders.model(
        [
            helper.make_node("Constant", [], ["matrix"], value=weight),
            helper.make_node("Transpose", ["matrix"], ["turned"]),
            helper.make_node("MatMul", ["x", "turned"], ["a"]),
            helper.make_node("Constant", [], ["two"], value_float=2.0),
            helper.make_node("Div", ["a", "two"], ["b"]),
            helper.make_node("Mul", ["b", "half"], ["c"]),
            helper.make_node("Add", ["c", "bias"], ["d"]),
            helper.make_node("Add", ["d", "mask"], ["e"]),
            helper.make_node("Softmax", ["e"], ["y"]),
        ],
        [X],
        [Y],
        {"half": np.full((), 0.5, np.float32), "bias": floats(3), "mask": never},
    )
    assert list(check(proto, {"x": floats(2, 4)}).weights) == ["matrix", "bias"]


def test_a_tensor_in_the_middle_can_be_asked_for() -> None:
    module = GraphModule(digits.two_layers(), ["r", "scores"])
    hidden, scores = module(torch.zeros(3, 64))
    assert (hidden.shape, scores.shape) == ((3, 64), (3, 10))


def test_an_unknown_operator_is_named_with_its_node() -> None:
    proto = builders.model([helper.make_node("NonZero", ["x"], ["y"], name="find")], [X], [Y])
    with pytest.raises(NotApplicableError, match=r"'find' \(NonZero\)"):
        GraphModule(proto)


def test_an_operator_of_another_domain_is_not_taken_for_the_one_of_its_name() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], domain="com.example")
    with pytest.raises(NotApplicableError, match=r"com\.example\.Relu"):
        GraphModule(builders.model([node], [X], [Y]))


def test_functions_of_the_model_are_run() -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    double = helper.make_function("local", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets)
    proto = builders.model(
        [helper.make_node("Double", ["x"], ["h"], domain="local"), helper.make_node("Mul", ["h", "w"], ["y"])],
        [X],
        [Y],
        {"w": floats(4)},
        opsets,
    )
    proto.functions.append(double)
    assert list(check(proto, {"x": floats(2, 4)}).weights) == ["w"]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_before_opset_13_takes_all_axes_from_its_own_on(opset: int, axis: int) -> None:
    cube = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])
    node = helper.make_node("Softmax", ["x"], ["y"], axis=axis)
    proto = builders.model([node], [cube], [Y], opsets=[helper.make_opsetid("", opset)])
    check(proto, {"x": floats(2, 3, 4)})


@pytest.mark.parametrize("opset", [13, 18])
def test_axes_are_an_attribute_or_an_input(opset: int) -> None:
    weights: dict[str, Any] = {"axes": np.array([1])} if opset >= 18 else {}
    node = helper.make_node("ReduceMean", ["x", *weights], ["y"], keepdims=0)
    if not weights:
        node.attribute.append(helper.make_attribute("axes", [1]))
    check(builders.model([node], [X], [Y], weights, [helper.make_opsetid("", opset)]), {"x": floats(2, 4)})


@pytest.mark.parametrize("opset", [18, 21])
def test_group_norm_has_scales_by_group_or_by_channel(opset: int) -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6, 3, 3])
    size = 2 if opset < 21 else 6
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], num_groups=2)
    weights = {"scale": floats(size), "bias": floats(size)}
    opsets = [helper.make_opsetid("", opset)]
    module = check(builders.model([node], [image], [Y], weights, opsets), {"x": floats(2, 6, 3, 3)})
    assert set(module.weights) == {"scale", "bias"}


def test_cast_like_takes_the_type_of_its_second_input() -> None:
    like = np.zeros(1, np.int64)
    nodes = [helper.make_node("CastLike", ["x", "like"], ["y"])]
    whole = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    check(builders.model(nodes, [X], [whole], {"like": like}), {"x": floats(2, 4) * 3})  # type: ignore[dict-item]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers_of_torch(kind: Callable[..., nn.RNNBase], bidirectional: bool, tmp_path: Any) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(4, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            every: torch.Tensor = self.layer(x)[0]
            return every[:, -1]

    torch.manual_seed(0)
    sample = torch.randn(2, 6, 4)
    path = tmp_path / "layer.onnx"
    torch.onnx.export(Last().eval(), (sample,), path, input_names=["x"], dynamo=False, opset_version=17)
    module = check(onnx.load(path), {"x": sample.numpy()})
    assert all(weight.grad is not None and weight.grad.any() for weight in module.weights.values())
