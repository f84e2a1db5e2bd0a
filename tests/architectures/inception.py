"""An Inception network after v3 (Szegedy et al., 2016): parallel branches, factorised kernels, nested concats."""

import torch
from torch import Tensor, nn


def _conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, padding: int | tuple[int, int] = 0
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs, eps=0.001), nn.ReLU()
    )


class Branches(nn.Module):
    """Each branch on the same input, their outputs side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _block_a(inputs: int, w: int) -> nn.Module:
    return Branches(
        _conv(inputs, 2 * w, 1),
        nn.Sequential(_conv(inputs, w, 1), _conv(w, 2 * w, 5, padding=2)),
        nn.Sequential(_conv(inputs, 2 * w, 1), _conv(2 * w, 3 * w, 3, padding=1), _conv(3 * w, 3 * w, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, w, 1)),
    )


def _reduction(inputs: int, w: int) -> nn.Module:
    return Branches(
        _conv(inputs, 4 * w, 3, 2),
        nn.Sequential(_conv(inputs, 2 * w, 1), _conv(2 * w, 3 * w, 3, padding=1), _conv(3 * w, 3 * w, 3, 2)),
        nn.MaxPool2d(3, 2),
    )


def _block_b(inputs: int, w: int) -> nn.Module:
    return Branches(
        _conv(inputs, 4 * w, 1),
        nn.Sequential(
            _conv(inputs, 2 * w, 1),
            _conv(2 * w, 2 * w, (1, 7), padding=(0, 3)),
            _conv(2 * w, 4 * w, (7, 1), padding=(3, 0)),
        ),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, 4 * w, 1)),
    )


def _block_c(inputs: int, w: int) -> nn.Module:
    split = Branches(_conv(3 * w, 3 * w, (1, 3), padding=(0, 1)), _conv(3 * w, 3 * w, (3, 1), padding=(1, 0)))
    return Branches(
        _conv(inputs, 4 * w, 1),
        nn.Sequential(_conv(inputs, 3 * w, 1), split),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), _conv(inputs, 2 * w, 1)),
    )


def inception() -> nn.Module:
    """Images (N, 3, 64, 64) to scores (N, 10)."""
    w = 8
    return nn.Sequential(
        _conv(3, w, 3, 2), _conv(w, w, 3), _conv(w, 2 * w, 3, padding=1), nn.MaxPool2d(3, 2), _conv(2 * w, 3 * w, 1),
        _block_a(3 * w, w), _block_a(8 * w, w), _reduction(8 * w, w), _block_b(15 * w, w), _block_b(12 * w, w),
        _reduction(12 * w, w), _block_c(19 * w, w), _block_c(12 * w, w),
        nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(12 * w, 10),
    )  # fmt: skip
