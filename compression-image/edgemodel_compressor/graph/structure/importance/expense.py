"""What a unit takes of the model's size and of its time: so much is won when it goes."""

from math import prod

from onnx import ModelProto

from edgemodel_compressor.graph.cost import macs_per_weight, parameters
from edgemodel_compressor.graph.structure.analysis import Analysis, Group, Slice

ARITHMETIC_WEIGHT = 2.0
"""What a share of all multiply-accumulates counts, where the same share of all weights counts one: weights are paid for
once per rollout, arithmetic with every request."""


def expenses(proto: ModelProto, analysis: Analysis) -> dict[str, float]:
    """By group name, what one of its units takes while all other groups are whole: the share of all weights that go
    with it, and ARITHMETIC_WEIGHT times the share of what all weights are multiplied with in a run."""
    uses = macs_per_weight(proto, analysis.shapes)
    weights = max(parameters(proto), 1)
    arithmetic = max(sum(count * prod(analysis.shapes[name]) for name, count in uses.items()), 1.0)

    def work(group: Group) -> float:
        return sum(_elements(analysis, part) * uses.get(part.tensor, 0.0) for part in group.slices)

    return {
        group.name: weights_per_unit(analysis, group) / weights + ARITHMETIC_WEIGHT * work(group) / arithmetic
        for group in analysis.groups
    }


def weights_per_unit(analysis: Analysis, group: Group) -> int:
    """How many weights go with one unit of ``group`` while all other groups are whole."""
    return sum(_elements(analysis, part) for part in group.slices)


def _elements(analysis: Analysis, part: Slice) -> int:
    """Of a slice, those that go with one unit."""
    positions: int = part.indices.shape[1]
    return positions * prod(size for axis, size in enumerate(analysis.shapes[part.tensor]) if axis != part.axis)
