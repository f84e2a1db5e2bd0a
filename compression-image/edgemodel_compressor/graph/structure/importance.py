"""How much a unit matters: by its weights, or by what the loss would lose with it.

A unit's raw score runs over all slices that go with it, since all of them are lost. Groups differ in how many weights a
unit has and how large those are by initialisation, and neither says that a unit matters; so each group's scores are
divided by their mean, as DepGraph does (Fang et al., 2023). A score of 1 is an average unit of its group, and units of
different groups can be ranked together: what goes first is what is small among its own kind. But of a network
with depthwise convolutions, where a layer has few channels all there is passes through a bottleneck: there the average
is higher.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper

from edgemodel_compressor.graph.structure.analysis import Analysis, Group, Slice
from edgemodel_compressor.graph.weights import constants, share_depthwise

Scores = dict[str, NDArray[np.float64]]
"""Group name to one score per unit: (units,), at least 0, of mean 1, or NARROWED in a bottleneck; all alike
where the raw scores are all zero."""
NARROW = 32
"""So many channels of a convolution, or less, are few: the first layers and the bottlenecks of MobileNetV2."""
NARROWED = 3.0


def magnitude(proto: ModelProto, analysis: Analysis) -> Scores:
    """The L2 norm of all weights that go with a unit (Li et al., 2017, over coupled layers)."""
    known, bottlenecks = _weights(proto, analysis), share_depthwise(proto) > 0

    def squares(part: Slice) -> NDArray[np.float64]:
        return _per_unit(part, numpy_helper.to_array(known[part.tensor]).astype(np.float64) ** 2)

    return {
        group.name: _ranked(group, analysis, bottlenecks, np.sqrt(_total(group, squares))) for group in analysis.groups
    }


def taylor(proto: ModelProto, analysis: Analysis, gradients: Mapping[str, NDArray[np.floating]]) -> Scores:
    """The first-order estimate of the change in loss, Σ |w·∂L/∂w| (Molchanov et al., 2019).

    ``gradients`` are by weight name, each of its weight's shape. Weights without one count for nothing.

    Raises:
        ValueError: a gradient has another shape than its weight.
    """
    known, bottlenecks = _weights(proto, analysis), share_depthwise(proto) > 0

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

    return {group.name: _ranked(group, analysis, bottlenecks, _total(group, products)) for group in analysis.groups}


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


def _ranked(group: Group, analysis: Analysis, bottlenecks: bool, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    convolved = any(len(analysis.shapes[part.tensor]) > 2 for part in group.slices)
    return normalised(raw) * (NARROWED if bottlenecks and convolved and group.units <= NARROW else 1.0)


def normalised(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """``raw`` scores (units,) divided by their mean."""
    mean = raw.mean()
    return raw / mean if mean > 0 else np.ones_like(raw)
