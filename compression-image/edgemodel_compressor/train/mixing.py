"""Samples between samples, for a training by the original's answers.

Few samples show little of what the original knows. Half of each batch is mixed with the other half (Zhang et al., 2018,
"mixup"), and the original is asked what it answers there, which needs no labels (Beyer et al., 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgemodel_compressor.train.supervision import Answers, Supervision


@dataclass(frozen=True)
class Mixing:
    """Draws from ``random`` how much of each of two samples is mixed."""

    answers: Answers
    random: torch.Generator

    def lesson(
        self, samples: Sequence[Tensor], indices: Tensor, supervision: Supervision
    ) -> tuple[list[Tensor], Sequence[Tensor]]:
        """Inputs and targets of a step on the samples at ``indices``: the first half mixed, the rest as they are."""
        inputs = [tensor[indices] for tensor in samples]
        half = len(indices) // 2
        if not half:
            return inputs, supervision.targets(indices)
        share = torch.rand(half, generator=self.random)
        blends = [_blend(tensor[:half], tensor[half : 2 * half], share) for tensor in inputs]
        answered = zip(self.answers(blends), supervision.targets(indices[half:]), strict=True)
        return (
            [torch.cat((blend, tensor[half:])) for blend, tensor in zip(blends, inputs, strict=True)],
            [torch.cat(pair) for pair in answered],
        )


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    weights = share.to(first.dtype).reshape(-1, *[1] * (first.dim() - 1))
    return weights * first + (1 - weights) * second


def mixing(supervision: Supervision, samples: Sequence[Tensor], seed: int) -> Mixing | None:
    """None where the targets are labels, or inputs are no quantities: there is nothing between two words."""
    if supervision.answers is None or not all(tensor.is_floating_point() for tensor in samples):
        return None
    return Mixing(supervision.answers, torch.Generator().manual_seed(seed))
