"""Scaled dot-product attention as one operator (Vaswani et al., 2017), and rotary embedding (Su et al., 2021)."""

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run


def _attention(node: Node) -> Run:
    if node.number("softcap", 0.0) or node.has_input(4) or node.has_input(5) or node.has_input(6):
        raise node.refuse("it caps its scores, keeps a cache or counts padding")
    if node.integer("left_window_size", -1) >= 0 or node.integer("right_window_size", -1) >= 0:
        raise node.refuse("it sees a window only")
    if any(node.has_output(position) for position in (1, 2, 3)):
        raise node.refuse("its cache or its scores are an output")
    causal, scale = node.flag("is_causal", False), node.attributes.get("scale")
    query_heads, heads = node.integer("q_num_heads", 0), node.integer("kv_num_heads", 0)

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *_: Tensor | None) -> Tensor:
        flat = query.ndim == 3
        if flat:
            query, key, value = _by_head(query, query_heads), _by_head(key, heads), _by_head(value, heads)
        if causal:
            earlier = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
            if mask is None:
                mask = earlier
            elif mask.dtype == torch.bool:
                mask = mask & earlier
            else:
                mask = mask.masked_fill(~earlier, -torch.inf)
        grouped = query.shape[1] != key.shape[1]
        y = functional.scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=grouped)
        return y.transpose(1, 2).flatten(2) if flat else y

    return run


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(batch, length, heads × width) to (batch, heads, length, width)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _rotary(node: Node) -> Run:
    interleaved, rotated = node.flag("interleaved", False), node.integer("rotary_embedding_dim", 0)
    heads = node.integer("num_heads", 0)

    def run(x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
        flat = x.ndim == 3
        if flat:
            x = _by_head(x, heads)
        width = rotated or x.shape[-1]
        turning, rest = x[..., :width], x[..., width:]
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        cos, sin = cos[..., : width // 2].unsqueeze(1), sin[..., : width // 2].unsqueeze(1)
        first, second = (turning[..., 0::2], turning[..., 1::2]) if interleaved else turning.chunk(2, -1)
        real, imaginary = cos * first - sin * second, sin * first + cos * second
        turned = torch.stack((real, imaginary), -1).flatten(-2) if interleaved else torch.cat((real, imaginary), -1)
        y = torch.cat((turned, rest), -1)
        return y.transpose(1, 2).flatten(2) if flat else y

    return run


OPERATORS: dict[str, Build] = {"Attention": _attention, "RotaryEmbedding": _rotary}
