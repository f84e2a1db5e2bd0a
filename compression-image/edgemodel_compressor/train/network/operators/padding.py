"""Padding of convolutions and pools: torch takes one size per axis, ONNX one per side."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Node


@dataclass(frozen=True)
class Padding:
    """What a node says about padding: ``pads`` (begins, then ends), or a rule."""

    pads: tuple[int, ...] | None
    rule: str

    def sides(
        self, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Sizes in front and behind, per spatial axis, for an input of ``spatial`` extent."""
        rank = len(spatial)
        if self.rule in ("SAME_UPPER", "SAME_LOWER"):
            totals = [
                max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
                for size, width, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
            ]
            small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
            return (small, large) if self.rule == "SAME_UPPER" else (large, small)
        if self.rule == "VALID" or self.pads is None:
            return [0] * rank, [0] * rank
        return list(self.pads[:rank]), list(self.pads[rank:])


def read_padding(node: Node) -> Padding:
    """The attributes ``pads`` and ``auto_pad``."""
    pads = node.integers("pads")
    return Padding(None if pads is None else tuple(pads), node.text("auto_pad", "NOTSET"))


def pad_sides(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float) -> Tensor:
    """``x`` with ``value`` around its last ``len(begins)`` axes."""
    sizes = [size for pair in zip(reversed(begins), reversed(ends), strict=True) for size in pair]
    return functional.pad(x, sizes, value=value)
