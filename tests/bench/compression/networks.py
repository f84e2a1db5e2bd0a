"""The networks of the benchmark, as torch modules; what torch-pruning prunes and what is exported are the same.

Widths of heads are read off the tensors, so that a network still runs when somebody has taken channels out of it.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.architectures.mobilenet import MobileNetV2
from tests.architectures.resnet import Basic, ResNet

CLASSES = 10
SIDE = 32
CONTEXT = 64

SAMPLE = Path(__file__).parents[3] / "manifests" / "samples" / "digits" / "train.py"


def sample() -> ModuleType:
    """The digits sample's training script, as a module."""
    if "digits_sample" not in sys.modules:
        spec = importlib.util.spec_from_file_location("digits_sample", SAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["digits_sample"] = module
        spec.loader.exec_module(module)
    return sys.modules["digits_sample"]


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, T, heads × width) to (N, heads, T, width)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(N, heads, T, width) to (N, T, heads × width)."""
    return x.transpose(1, 2).flatten(2)


class SeparateAttention(nn.Module):
    """BERT's: query, key and value each a linear layer; scores and softmax written out."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (_heads(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        if self.causal:
            scores = scores + torch.full((x.shape[1], x.shape[1]), -1e9).triu(1)
        y: Tensor = self.output(_joined(torch.matmul(torch.softmax(scores, -1), value)))
        return y


class JointAttention(nn.Module):
    """GPT-2's and the usual ViT's: one linear layer for query, key and value; torch's fused attention."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.joint = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def separate(self) -> SeparateAttention:
        """The same attention with a layer for each of the three."""
        width = self.output.in_features
        attention = SeparateAttention(width, self.heads, self.causal)
        layers = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            for index, layer in enumerate(layers):
                layer.weight.copy_(self.joint.weight[index * width : (index + 1) * width])
                layer.bias.copy_(self.joint.bias[index * width : (index + 1) * width])
        attention.output = self.output
        return attention

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (_heads(part, self.heads) for part in self.joint(x).chunk(3, dim=2))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        y: Tensor = self.output(_joined(mixed))
        return y


def _feed_forward(width: int, hidden: int, approximate: str = "none") -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate), nn.Linear(hidden, width))


class PostNormBlock(nn.Module):
    """BERT's: norms after the additions."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention, self.feed_forward = SeparateAttention(width, heads), _feed_forward(width, hidden)
        self.first, self.second = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x + self.attention(x))
        y: Tensor = self.second(x + self.feed_forward(x))
        return y


class PreNormBlock(nn.Module):
    """GPT-2's and ViT's: norms before what is added."""

    def __init__(self, width: int, heads: int, causal: bool, approximate: str) -> None:
        super().__init__()
        self.attention = JointAttention(width, heads, causal)
        self.feed_forward = _feed_forward(width, 4 * width, approximate)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        y: Tensor = x + self.feed_forward(self.second(x))
        return y


class Vit(nn.Module):
    """Images (N, 1, 32, 32) as 4×4 patches of 8×8 pixels and a class token, to scores (N, 10)."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(*(PreNormBlock(width, heads, False, "none") for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return y


class RowEncoder(nn.Module):
    """BERT's encoder over the rows of a scan: (N, 8, 8) is 8 tokens of 8 features, to scores (N, 10)."""

    def __init__(self, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.rows = nn.Linear(8, width)
        self.places = nn.Parameter(torch.randn(1, 8, width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.Sequential(*(PostNormBlock(width, heads, hidden) for _ in range(depth)))
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.rows(x) + self.places))
        y: Tensor = self.head(torch.tanh(self.pooler(x[:, 0])))
        return y


class Bert(nn.Module):
    """BERT over a vocabulary: tokens (N, T), at most 512 of them, to scores (N, 10)."""

    def __init__(self, width: int, depth: int, heads: int, vocabulary: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.Sequential(*(PostNormBlock(width, heads, 4 * width) for _ in range(depth)))
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.words(x) + self.places(torch.arange(x.shape[1]))))
        y: Tensor = self.head(torch.tanh(self.pooler(x[:, 0])))
        return y


class Gpt(nn.Module):
    """GPT-2 over characters: tokens (N, 64) to the scores of each next one (N, 64, characters)."""

    def __init__(self, width: int, depth: int, heads: int, characters: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(characters, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(PreNormBlock(width, heads, True, "tanh") for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x) + self.places(torch.arange(CONTEXT))
        y: Tensor = self.head(self.norm(self.blocks(x)))
        return y


CHARACTERS = 97
"""Printable ASCII, the end of a line, and one for all else."""

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: cast(nn.Module, sample().ResNet18()),
    "mobilenetv2": lambda: MobileNetV2(0.5, CLASSES),
    "vit": lambda: Vit(width=128, depth=6, heads=4),
    "encoder": lambda: RowEncoder(width=256, depth=4, heads=4, hidden=1024),
    "gpt2": lambda: Gpt(width=192, depth=4, heads=4, characters=CHARACTERS),
    "resnet18-224": lambda: ResNet(Basic, (2, 2, 2, 2), width=64, classes=CLASSES),
    "bert-base": lambda: Bert(width=768, depth=12, heads=12, vocabulary=30522),
}
"""How each row's network is built, with whatever weights torch draws."""
