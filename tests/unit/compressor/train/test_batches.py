"""A batch through a graph that was exported for one sample gives what the samples give alone, gradients too."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.train.batches import as_tensors, batched
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.supervision import observe
from tests import architectures
from tests.unit.compressor.train import digits

SAMPLES = 5


def export_for_one(name: str, folder: Path) -> onnx.ModelProto:
    """The architecture ``name`` at a fixed batch of one: its reshapes say so."""
    feed = architectures.example(name)
    arguments = tuple(torch.from_numpy(array[:1]) for array in feed.values())
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            architectures.module(name), arguments, path, input_names=list(feed), opset_version=17, dynamo=False
        )
    return onnx.load(path)


def gradients(module: GraphModule, output: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(output.square().sum(), list(module.weights.values())))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "unet", "bert", "vit", "gpt2", "lstm"])
def test_a_batch_is_its_samples(name: str, tmp_path: Path) -> None:
    module = GraphModule(export_for_one(name, tmp_path))
    feed = {
        key: np.concatenate([architectures.example(name, seed)[key] for seed in range(3)])[:SAMPLES]
        for key in module.inputs
    }
    samples = as_tensors(module, feed)
    (together,) = batched(module, samples)(samples)
    alone = torch.cat([module(*(tensor[index : index + 1] for tensor in samples))[0] for index in range(SAMPLES)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    for ours, wanted in zip(gradients(module, together), gradients(module, alone), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-3, atol=1e-3 * max(float(wanted.abs().max()), 1e-3))


def test_a_fixed_batch_of_several_is_refused() -> None:
    with pytest.raises(NotApplicableError, match="'x' has a fixed batch of 4"):
        observe(digits.two_layers(batch=4))


def test_every_input_needs_samples() -> None:
    module = GraphModule(digits.two_layers())
    with pytest.raises(ValueError, match="'x'"):
        as_tensors(module, {"image": np.zeros((2, 64), np.float32)})
