"""A U-Net (Ronneberger et al., 2015): skips by concatenation, up by transposed convolution and by interpolation."""

import torch
from torch import Tensor, nn


def _double(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Images (N, 3, H, W) to a map (N, classes, H, W); H and W are multiples of 16."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(
            _double(inputs, outputs) for inputs, outputs in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for level in range(3, -1, -1):
            above, here = widths[level + 1], widths[level]
            # The two deep levels learn how to widen; the two shallow ones interpolate.
            if level >= 2:
                self.up.append(nn.ConvTranspose2d(above, here, 2, 2))
                self.merge.append(_double(2 * here, here))
            else:
                self.up.append(nn.Upsample(scale_factor=2, mode="bilinear" if level else "nearest"))
                self.merge.append(_double(above + here, here))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for index, block in enumerate(self.down):
            x = block(self.pool(x) if index else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        y: Tensor = self.head(x)
        return y


def unet() -> nn.Module:
    """Four levels down and up."""
    return UNet(width=8, classes=3)
