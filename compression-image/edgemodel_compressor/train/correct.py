"""Channel statistics of the original, given back to a pruned network in one pass, before any gradient.

Every pruned layer passes on a weaker signal than before, so that a deep network without norms, as exporters fold them
into convolutions, says the same to everything and has no gradient to learn from. Scale and bias of each output channel
are set so that its mean and deviation over some samples are the original's again (bias correction: Nagel et al., 2019;
after pruning: Saikumar and Varghese, 2025), layer by layer, each on what the corrected ones before it give.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import onnx
import torch
from torch import Tensor

from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.network.node import Build, Node, Run
from edgemodel_compressor.train.network.operators import OPERATORS
from edgemodel_compressor.train.network.program import compile_graph

Moments = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and standard deviation per channel (channels,) of the tensors that layers write, by name."""

_LAYERS = ("Conv", "Gemm")
_MOST = 10.0
"""Gains beyond it, or below its inverse, are the noise of channels that hardly vary."""


def channel_moments(proto: onnx.ModelProto, inputs: Mapping[str, Tensor]) -> Moments:
    """What the layers of ``proto`` write for ``inputs``, a batch by input name."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def record(node: Node, run: Run) -> Run:
        def recording(*tensors: Tensor) -> Tensor:
            y = _only(run(*tensors))
            found[node.outputs[0]] = _moments(y)
            return y

        return recording

    module = GraphModule(proto)
    _run(proto, module, [inputs[name] for name in module.inputs], record)
    return found


def correct(proto: onnx.ModelProto, module: GraphModule, samples: Sequence[Tensor], original: Moments) -> None:
    """Change the weights of ``module``, which runs ``proto``, in place.

    ``samples`` are the batch, in the module's order, that ``original`` is about. Layers without a bias, that share
    their weights, or have other channels than the original are left as they are.
    """
    uses = Counter(name for node in proto.graph.node for name in node.input)

    def with_correction(node: Node, run: Run) -> Run:
        wanted, names = original.get(node.outputs[0]), node.inputs[1:3]
        own = len(names) == 2 and all(name in module.weights and uses[name] == 1 for name in names)
        if wanted is None or not own:
            return run
        axis = 1 if node.operator == "Gemm" and not node.flag("transB", False) else 0

        def corrected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            y = _only(run(x, weight, bias))
            (mean, deviation), (goal, spread) = _moments(y), wanted
            if mean.shape != goal.shape or bias.shape != mean.shape:
                return y
            usable = (deviation > 1e-6 * spread.max()) & (spread > 0)
            gain = torch.where(usable, (spread / deviation).clamp(1 / _MOST, _MOST), 1.0)
            weight.mul_(gain.reshape([-1 if at == axis else 1 for at in range(weight.ndim)]))
            bias.copy_((bias - mean) * gain + goal)
            return (y - _as_channels(mean, y)) * _as_channels(gain, y) + _as_channels(goal, y)

        return corrected

    _run(proto, module, samples, with_correction)


def _run(
    proto: onnx.ModelProto, module: GraphModule, samples: Sequence[Tensor], change: Callable[[Node, Run], Run]
) -> None:
    def changed(build: Build) -> Build:
        return lambda node: change(node, build(node))

    operators = {**OPERATORS, **{name: changed(OPERATORS[name]) for name in _LAYERS}}
    variable = {**module.weights, **module.statistics}
    with torch.no_grad():
        compile_graph(proto, module.inputs, module.outputs, variable, operators).run(samples)


def _only(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def _moments(y: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(y, dim=[0, *range(2, y.ndim)], correction=0)
    return mean, variance.sqrt()


def _as_channels(values: Tensor, y: Tensor) -> Tensor:
    return values.reshape([-1 if axis == 1 else 1 for axis in range(y.ndim)])
