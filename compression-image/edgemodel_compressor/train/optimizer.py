"""The optimizer and its learning rate."""

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter

from edgemodel_compressor.train.plan import TrainingPlan


def make_optimizer(weights: Iterable[Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """Adam or SGD with momentum; biases and norms do not decay."""
    listed = list(weights)
    groups = [
        {"params": [weight for weight in listed if weight.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [weight for weight in listed if weight.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # Fused: one pass over all weights, instead of one per operation.
    if plan.optimizer == "Adam":
        return torch.optim.AdamW(groups, lr=plan.peak, fused=True)
    return torch.optim.SGD(groups, lr=plan.peak, momentum=plan.momentum, fused=True)


def rate(step: int, steps: int, warm_up: float) -> float:
    """The learning rate of ``step`` (from 0) of ``steps``, as a share of the highest: a ramp, then half a cosine."""
    ramp = math.ceil(warm_up * steps)
    if step < ramp:
        return (step + 1) / (ramp + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(steps - ramp, 1)))
