"""Images a little to the side, for a training by the original's answers.

Few samples show little of what the original knows. What it answers to an image that is moved by some pixels is known as
well, if it is asked (Beyer et al., 2022), and an image that is moved is one that it could have met. Each is asked about
once, and then as good as another sample.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

COPIES = 3
"""Of each image, beside itself."""
FARTHEST = 1 / 16
"""Of a side, in pixels; half of a step of what looks at 8 × 8 patches."""
MAX_SHIFTED_BYTES = 256 * 2**20
"""Of all of them together."""
_COLOURS = 4
"""An image has so many channels at most: that tells them from its height where they come last."""


def with_shifted(samples: Sequence[Tensor], seed: int) -> list[Tensor]:
    """``samples``, and COPIES shifted ones of each: first all as they are, then all first copies, and so on.

    Images, float tensors of four dimensions with samples first, all move alike, and edges are repeated; other inputs
    are copied as they are. Where no input is an image large enough to move, or so many would take MAX_SHIFTED_BYTES:
    ``samples`` as they are.
    """
    farthest = min((_farthest(tensor) for tensor in samples if _is_image(tensor)), default=0)
    if not farthest or (1 + COPIES) * sum(tensor.nbytes for tensor in samples) > MAX_SHIFTED_BYTES:
        return list(samples)
    random = torch.Generator().manual_seed(seed)
    offsets = torch.randint(0, 2 * farthest + 1, (COPIES, len(samples[0]), 2), generator=random)
    return [
        torch.cat([tensor, *(_shifted(tensor, each, farthest) if _is_image(tensor) else tensor for each in offsets)])
        for tensor in samples
    ]


def _is_image(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and tensor.is_floating_point()


def _channels_last(tensor: Tensor) -> bool:
    return tensor.shape[3] <= _COLOURS < tensor.shape[1]


def _farthest(tensor: Tensor) -> int:
    height, width = tensor.shape[1:3] if _channels_last(tensor) else tensor.shape[2:]
    return round(FARTHEST * min(height, width))


def _shifted(images: Tensor, offsets: Tensor, farthest: int) -> Tensor:
    """``images`` cut out of their padded selves at ``offsets`` (images, 2), from 0 to twice ``farthest``."""
    if _channels_last(images):
        return _shifted(images.movedim(3, 1), offsets, farthest).movedim(1, 3)
    height, width = images.shape[2:]
    padded = functional.pad(images, (farthest,) * 4, mode="replicate")
    corners = zip(padded, offsets.tolist(), strict=True)
    return torch.stack([image[:, top : top + height, left : left + width] for image, (top, left) in corners])
