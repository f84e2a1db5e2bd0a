"""Channels of a pruned network get the original's mean and deviation back, layer by layer."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.train.correct import channel_moments, correct
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.plan import TrainingPlan
from edgemodel_compressor.train.recover import recover
from edgemodel_contract.task import Pruning
from tests.unit.compressor.builders import Floats, model
from tests.unit.compressor.train import digits

DEPTH, CHANNELS = 10, 12
BATCH = torch.from_numpy(digits.digits().x[:96].reshape(-1, 1, 8, 8))


def deep() -> onnx.ModelProto:
    """Ten convolutions without a norm between them, then a linear layer, all with random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, name = [], dict[str, Floats](), "x"
    for layer in range(DEPTH):
        shape = (CHANNELS, CHANNELS if layer else 1, 3, 3)
        weights[f"w{layer}"] = rng.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape).astype(np.float32)
        weights[f"b{layer}"] = rng.normal(scale=0.1, size=CHANNELS).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [name, f"w{layer}", f"b{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
        ]
        name = f"r{layer}"
    weights["w"] = rng.normal(scale=0.1, size=(CHANNELS * 64, 10)).astype(np.float32)
    weights["b"] = np.zeros(10, np.float32)
    nodes += [helper.make_node("Flatten", [name], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["scores"])]
    return model(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        weights,
    )


def pruned() -> onnx.ModelProto:
    proto = deep()
    prune(proto, Pruning(sparsity=0.5, scope="Layer"))
    return proto


def test_every_layer_has_the_moments_of_the_original_and_zeros_stay_zero() -> None:
    original = channel_moments(deep(), {"x": BATCH})
    hurt = pruned()
    module = GraphModule(hurt)
    zeros = {name: weight == 0 for name, weight in module.weights.items() if weight.ndim > 1}
    correct(hurt, module, [BATCH], original)
    with torch.no_grad():
        outputs = module(BATCH)
    assert all(not module.weights[name][mask].any() for name, mask in zeros.items())
    mean, deviation = original["scores"]
    torch.testing.assert_close(outputs[0].mean(0), mean, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(outputs[0].std(0, correction=0), deviation, rtol=1e-2, atol=1e-2)


def test_a_network_is_its_own_correction() -> None:
    proto = deep()
    module, before = GraphModule(proto), GraphModule(proto)
    correct(proto, module, [BATCH], channel_moments(proto, {"x": BATCH}))
    for name, weight in module.weights.items():
        torch.testing.assert_close(weight, before.weights[name], rtol=1e-3, atol=1e-4)


def test_a_layer_with_other_channels_than_the_original_is_left_alone() -> None:
    proto = pruned()
    original = {**channel_moments(deep(), {"x": BATCH}), "c3": (torch.zeros(5), torch.ones(5))}
    module, before = GraphModule(proto), GraphModule(proto)
    correct(proto, module, [BATCH], original)
    assert torch.equal(module.weights["w3"], before.weights["w3"])
    assert not torch.equal(module.weights["w4"], before.weights["w4"])


def test_recovery_starts_from_it_where_it_helps() -> None:
    x = {"x": digits.digits().x.reshape(-1, 1, 8, 8)}
    plan = TrainingPlan(epochs=1, learning_rate=1e-9)
    result = recover(pruned(), x, None, teacher=deep(), plan=plan, progress=lambda _share, _message: None)
    assert result.corrected
    assert min(result.validation_loss[1:]) < result.validation_loss[0] / 2
    same = recover(deep(), x, None, teacher=deep(), plan=plan, progress=lambda _share, _message: None)
    assert same.validation_loss[0] < 1e-6
