"""Every architecture by name: how to build it, and the inputs it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.architectures import densenet, inception, mobilenet, resnet, simple, transformers, unet, vgg

Feed = dict[str, NDArray[np.generic]]

_BATCH = 2


@dataclass(frozen=True)
class Architecture:
    """A factory, and per input the shape of one sample and, for tokens, how many there are (0: real numbers)."""

    build: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[tuple[int, ...], int]]


def _images(side: int) -> Mapping[str, tuple[tuple[int, ...], int]]:
    return {"image": ((3, side, side), 0)}


_TOKENS = ((transformers.TOKENS,), transformers.VOCABULARY)
_CATALOGUE: Mapping[str, Architecture] = {
    "resnet18": Architecture(resnet.resnet18, _images(32)),
    "resnet26": Architecture(resnet.resnet26, _images(32)),
    "vgg11": Architecture(vgg.vgg11, _images(64)),
    "vgg11_bn": Architecture(vgg.vgg11_bn, _images(64)),
    "densenet": Architecture(densenet.densenet, _images(32)),
    "inception": Architecture(inception.inception, _images(64)),
    "mobilenet_v2": Architecture(mobilenet.mobilenet_v2, _images(32)),
    "unet": Architecture(unet.unet, _images(32)),
    "mlp": Architecture(simple.mlp, {"x": ((32,), 0)}),
    "bert": Architecture(transformers.bert, {"tokens": _TOKENS, "mask": ((transformers.TOKENS,), 2)}),
    "gpt2": Architecture(transformers.gpt2, {"tokens": _TOKENS}),
    "vit": Architecture(transformers.vit, _images(32)),
    "lstm": Architecture(simple.lstm, {"tokens": ((10,), 50)}),
}
NAMES = tuple(_CATALOGUE)


@cache
def module(name: str) -> nn.Module:
    """The architecture ``name`` in eval mode, with the same weights on every call.

    Statistics and affine parameters of norms, biases and bare parameters are drawn too, so that no two channels are
    alike, and nothing that should matter is zero or one.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _CATALOGUE[name].build().eval()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias, std=0.2)
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.2)
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.normal_(std=0.2)
                part.running_var.uniform_(0.5, 1.5)
        with torch.no_grad():
            for parameter in net.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.2)
    return net


@cache
def _example(name: str, seed: int) -> Feed:
    rng = np.random.default_rng(seed)
    return {
        key: rng.integers(0, limit, (_BATCH, *shape)) if limit else rng.normal(size=(_BATCH, *shape)).astype(np.float32)
        for key, (shape, limit) in _CATALOGUE[name].inputs.items()
    }


def example(name: str, seed: int = 0) -> Feed:
    """A batch of two samples for the inputs of ``name``: float32 images and features, int64 tokens."""
    return dict(_example(name, seed))


def expected(name: str, seed: int = 0) -> NDArray[np.float32]:
    """What torch answers to ``example(name, seed)``."""
    with torch.inference_mode():
        answer = module(name)(*(torch.from_numpy(array) for array in example(name, seed).values()))
    result: NDArray[np.float32] = answer.numpy()
    return result
