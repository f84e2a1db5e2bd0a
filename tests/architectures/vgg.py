"""VGG-11 (Simonyan and Zisserman, 2015), with and without batch norm: it flattens several pixels for its classifier."""

import torch
from torch import Tensor, nn

_PLAN = (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)
"""Widths of the convolutions in units of the first one's; 0 is a pool."""


class Vgg(nn.Module):
    """Images (N, 3, 64, 64) to scores (N, classes)."""

    def __init__(self, width: int, classes: int, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for factor in _PLAN:
            if not factor:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers.append(nn.Conv2d(inputs, factor * width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(factor * width))
            layers.append(nn.ReLU())
            inputs = factor * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 2 * 2, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(),
            nn.Linear(64, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return scores


def vgg11() -> nn.Module:
    """Convolutions with bias."""
    return Vgg(width=8, classes=10, batch_norm=False)


def vgg11_bn() -> nn.Module:
    """Convolutions with bias, each followed by a batch norm."""
    return Vgg(width=8, classes=10, batch_norm=True)
