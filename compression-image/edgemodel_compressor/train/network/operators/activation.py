"""Activation functions, softmax among them."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from edgemodel_compressor.train.network.node import Build, Node, Run, plain

_OPSET_OF_ONE_AXIS = 13
"""Before it, softmax took everything from its axis on as one axis."""


def _leaky_relu(node: Node) -> Run:
    slope = node.number("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _hard_sigmoid(node: Node) -> Run:
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0, 1)


def _elu(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _celu(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _selu(node: Node) -> Run:
    alpha = node.number("alpha", 1.67326319217681884765625)
    gamma = node.number("gamma", 1.05070102214813232421875)
    return lambda x: gamma * functional.elu(x, alpha)


def _thresholded_relu(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return lambda x: functional.threshold(x, alpha, 0.0)


def _gelu(node: Node) -> Run:
    approximate = node.text("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _swish(node: Node) -> Run:
    alpha = node.number("alpha", 1.0)
    return functional.silu if alpha == 1 else lambda x: x * torch.sigmoid(alpha * x)


def _softmax_like(function: Callable[[Tensor, int], Tensor]) -> Build:
    def build(node: Node) -> Run:
        if node.opset >= _OPSET_OF_ONE_AXIS:
            axis = node.integer("axis", -1)
            return lambda x: function(x, axis)
        first = node.integer("axis", 1)

        def run(x: Tensor) -> Tensor:
            rows = prod(x.shape[: first % x.ndim])
            return function(x.reshape(rows, -1), 1).reshape(x.shape)

        return run

    return build


OPERATORS: dict[str, Build] = {
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": plain(functional.hardswish),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax_like(torch.log_softmax),
    "Mish": plain(functional.mish),
    "PRelu": plain(_prelu),
    "Relu": plain(torch.relu),
    "Selu": _selu,
    "Sigmoid": plain(torch.sigmoid),
    "Softmax": _softmax_like(torch.softmax),
    "Softplus": plain(functional.softplus),
    "Softsign": plain(functional.softsign),
    "Swish": _swish,
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
