"""Normalization. Running statistics are used as they are, but for the form of batch normalization that trains."""

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run

_OPSET_OF_CHANNEL_SCALES = 21
"""Before it, GroupNormalization had one scale and bias per group."""


def _batch(node: Node) -> Run:
    if node.flag("training_mode", False):
        raise node.refuse("it normalizes by the batch instead of running statistics; export the model in eval mode")
    epsilon = node.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)

    return run


def batch_in_training(node: Node) -> Run:
    """Batch normalization by the statistics of the batch, which it leaves in place of the running ones."""
    epsilon = node.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, training=True, momentum=1.0, eps=epsilon)

    return run


def _layer(node: Node) -> Run:
    axis, epsilon = node.integer("axis", -1), node.number("epsilon", 1e-5)
    with_statistics = node.has_output(1) or node.has_output(2)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        y = normalize(x, scale, bias)
        if not with_statistics:
            return y
        variance, mean = torch.var_mean(x, dim=list(range(axis % x.ndim, x.ndim)), correction=0, keepdim=True)
        return y, mean, torch.rsqrt(variance + epsilon)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        y = functional.layer_norm(x, shape, None, None, epsilon) * scale
        return y if bias is None else y + bias

    return run


def _root_mean_square(node: Node) -> Run:
    axis, epsilon = node.integer("axis", -1), node.number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[axis:], None, epsilon) * scale

    return run


def _instance(node: Node) -> Run:
    epsilon = node.number("epsilon", 1e-5)
    # A group per channel is the same, and unlike instance_norm takes a single value per channel, too.
    return lambda x, scale, bias: functional.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group(node: Node) -> Run:
    groups, epsilon = node.integer("num_groups", 1), node.number("epsilon", 1e-5)
    per_group = node.opset < _OPSET_OF_CHANNEL_SCALES

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if per_group:
            channels = x.shape[1] // groups
            scale, bias = scale.repeat_interleave(channels), bias.repeat_interleave(channels)
        return functional.group_norm(x, groups, scale, bias, epsilon)

    return run


def _local_response(node: Node) -> Run:
    size, bias = node.integer("size", 1), node.number("bias", 1.0)
    alpha, beta = node.number("alpha", 1e-4), node.number("beta", 0.75)
    return lambda x: functional.local_response_norm(x, size, alpha, beta, bias)


def _lp(node: Node) -> Run:
    axis, order = node.integer("axis", -1), node.integer("p", 2)
    return lambda x: functional.normalize(x, order, axis)


def _mean_variance(node: Node) -> Run:
    axes = node.integers("axes") or [0, 2, 3]

    def run(x: Tensor) -> Tensor:
        centred = x - x.mean(dim=axes, keepdim=True)
        return centred / ((centred * centred).mean(dim=axes, keepdim=True).sqrt() + 1e-9)

    return run


OPERATORS: dict[str, Build] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LRN": _local_response,
    "LayerNormalization": _layer,
    "LpNormalization": _lp,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _root_mean_square,
}
