"""How much a unit matters: by its weights, or by what the loss would lose with it.

A unit's raw score runs over all slices that go with it, since all of them are lost.

Norms of weights say nothing across groups: those differ in how many weights a unit has and how large these are by
initialisation. So each group's norms are divided by their mean, as DepGraph does (Fang et al., 2023), and what goes
first is what is small among its own kind.

Losses do compare, and the least is lost if that goes first which loses least for the weights and arithmetic it takes.
But a loss is estimated for one unit alone, and the more of a group is gone, the more does the rest of it matter: what
spares that gives every group's units the same mean. The score is the geometric mean of both.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from edgemodel_compressor.graph.structure.analysis import Analysis, Group, Slice
from edgemodel_compressor.graph.structure.importance.expense import expenses
from edgemodel_compressor.graph.weights import constants

Scores = dict[str, NDArray[np.float64]]
"""Group name to one score per unit: (units,), at least 0. The units of all groups can be ranked together."""


def magnitude(proto: ModelProto, analysis: Analysis) -> Scores:
    """The L2 norm of all weights that go with a unit (Li et al., 2017, over coupled layers), by the group's mean."""
    known = _weights(proto, analysis)

    def squares(part: Slice) -> NDArray[np.float64]:
        return _per_unit(part, numpy_helper.to_array(known[part.tensor]).astype(np.float64) ** 2)

    return {group.name: normalised(np.sqrt(_total(group, squares))) for group in analysis.groups}


def taylor(proto: ModelProto, analysis: Analysis, gradients: Mapping[str, NDArray[np.floating]]) -> Scores:
    """The first-order estimate of the change in loss, Σ |w·∂L/∂w| (Molchanov et al., 2019), for what the unit takes.

    ``gradients`` are by weight name, each of its weight's shape. Weights without one count for nothing.

    Raises:
        ValueError: a gradient has another shape than its weight.
    """
    known = _weights(proto, analysis)

    def products(part: Slice) -> NDArray[np.float64]:
        name = analysis.aliases.get(part.tensor, part.tensor)
        if name not in gradients:
            return np.zeros(len(part.indices))
        weight, gradient = numpy_helper.to_array(known[name]), gradients[name]
        if weight.shape != gradient.shape:
            raise ValueError(
                f"The gradient of {name} has the shape {list(gradient.shape)}, the weight {list(weight.shape)}; "
                "compute both on the same graph."
            )
        return _per_unit(part, np.abs(weight.astype(np.float64) * gradient))

    taken = expenses(proto, analysis)
    return {group.name: _weighed(_total(group, products), taken[group.name]) for group in analysis.groups}


def _weights(proto: ModelProto, analysis: Analysis) -> dict[str, TensorProto]:
    known = constants(proto.graph)
    return known | {alias: known[name] for alias, name in analysis.aliases.items()}


def _total(group: Group, measure: Callable[[Slice], NDArray[np.float64]]) -> NDArray[np.float64]:
    total = np.zeros(group.units)
    for part in group.slices:
        total += measure(part)
    return total


def _per_unit(part: Slice, values: NDArray[np.float64]) -> NDArray[np.float64]:
    along = values.sum(axis=tuple(index for index in range(values.ndim) if index != part.axis))
    sums: NDArray[np.float64] = along[part.indices].sum(axis=1)
    return sums


def _weighed(losses: NDArray[np.float64], taken: float) -> NDArray[np.float64]:
    divisor = float(np.sqrt(losses.mean() * taken))
    return losses / divisor if divisor > 0 else losses


def normalised(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """``raw`` scores (units,) divided by their mean; all alike where they are all zero."""
    mean = raw.mean()
    return raw / mean if mean > 0 else np.ones_like(raw)
