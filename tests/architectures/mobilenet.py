"""MobileNetV2 (Sandler et al., 2018): inverted residuals with depthwise convolutions and ReLU6."""

import torch
from torch import Tensor, nn

_PLAN = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repetitions and stride of each stage at full width."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Widen by 1×1, filter each channel by 3×3, narrow by 1×1; added to the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [*_conv(inputs, hidden, 1), nn.ReLU6()] if expansion != 1 else []
        self.body = nn.Sequential(
            *widen, *_conv(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(), *_conv(hidden, outputs, 1)
        )
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.added else y


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) to scores (N, classes)."""

    def __init__(self, multiplier: float, classes: int) -> None:
        super().__init__()
        width = int(32 * multiplier)
        layers: list[nn.Module] = [*_conv(3, width, 3, 2), nn.ReLU6()]
        for expansion, channels, repetitions, stride in _PLAN:
            outputs = int(channels * multiplier)
            for index in range(repetitions):
                layers.append(InvertedResidual(width, outputs, 1 if index else stride, expansion))
                width = outputs
        last = int(1280 * multiplier)
        self.features = nn.Sequential(*layers, *_conv(width, last, 1), nn.ReLU6())
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(torch.mean(self.features(x), dim=(2, 3)))
        return scores


def mobilenet_v2() -> nn.Module:
    """A quarter of the width."""
    return MobileNetV2(0.25, classes=10)
