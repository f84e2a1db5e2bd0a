"""A BERT-style encoder, a GPT-2-style decoder and a ViT: three ways in which people write the same attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, HIDDEN, LAYERS = 48, 6, 128, 2
TOKENS, VOCABULARY = 12, 96


class SeparateAttention(nn.Module):
    """BERT's: query, key and value each a linear layer; scores, softmax and mask written out."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS) + mask
        mixed = torch.matmul(torch.softmax(scores, -1), value).permute(0, 2, 1, 3).contiguous()
        y: Tensor = self.output(mixed.view(x.shape[0], x.shape[1], WIDTH))
        return y


class CausalAttention(nn.Module):
    """GPT-2's: one linear layer, split in three; torch's fused attention with a causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.joint = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.joint(x).split(WIDTH, dim=2))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        y: Tensor = self.output(mixed.transpose(1, 2).reshape(x.shape))
        return y


class StackedAttention(nn.Module):
    """The usual ViT's: one linear layer, reshaped so that query, key and value lie along a leading axis."""

    def __init__(self) -> None:
        super().__init__()
        self.joint = nn.Linear(WIDTH, 3 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        stacked = self.joint(x).reshape(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = stacked.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        y: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, tokens, WIDTH))
        return y


def _feed_forward(approximate: str = "none") -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(approximate), nn.Linear(HIDDEN, WIDTH))


class EncoderBlock(nn.Module):
    """Norms after the additions."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed_forward = SeparateAttention(), _feed_forward()
        self.first, self.second = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.first(x + self.attention(x, mask))
        y: Tensor = self.second(x + self.feed_forward(x))
        return y


class Bert(nn.Module):
    """Tokens (N, T) and a mask of those that count (N, T) to scores (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.blocks = nn.ModuleList(EncoderBlock() for _ in range(LAYERS))
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.words(tokens) + self.places(torch.arange(TOKENS)))
        bias = (1.0 - mask.to(torch.float32))[:, None, None, :] * -10000.0
        for block in self.blocks:
            x = block(x, bias)
        y: Tensor = self.head(torch.tanh(self.pooler(x[:, 0])))
        return y


class PreNormBlock(nn.Module):
    """Norms before what is added."""

    def __init__(self, attention: nn.Module, approximate: str) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, _feed_forward(approximate)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        y: Tensor = x + self.feed_forward(self.second(x))
        return y


class Gpt2(nn.Module):
    """Tokens (N, T) to the scores of each next token (N, T, vocabulary), by the transposed embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.blocks = nn.Sequential(*(PreNormBlock(CausalAttention(), "tanh") for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) + self.places(torch.arange(TOKENS))
        y: Tensor = self.head(self.norm(self.blocks(x)))
        return y


class Vit(nn.Module):
    """Images (N, 3, 32, 32) as 4×4 patches of 8×8 pixels and a class token, to scores (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.places = nn.Parameter(torch.zeros(1, 17, WIDTH))
        self.blocks = nn.Sequential(*(PreNormBlock(StackedAttention(), "none") for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        y: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return y


def bert() -> nn.Module:
    """Two layers of six heads."""
    return Bert(classes=4)


def gpt2() -> nn.Module:
    """Two layers of six heads, embeddings tied to the output."""
    return Gpt2()


def vit() -> nn.Module:
    """Two layers of six heads."""
    return Vit(classes=10)
