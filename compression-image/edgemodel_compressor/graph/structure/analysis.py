"""From a graph to its groups: which units it has, and which slices of which weights each of them is."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edgemodel_compressor.graph.shapes import Shapes, tensor_shapes
from edgemodel_compressor.graph.structure.labels import Axis
from edgemodel_compressor.graph.structure.operators.sizes import follow
from edgemodel_compressor.graph.structure.operators.table import RULES
from edgemodel_compressor.graph.structure.sharing import unshared
from edgemodel_compressor.graph.structure.walk import Cut, Size, Walk
from edgemodel_compressor.graph.weights import FLOATS


@dataclass(frozen=True)
class Slice:
    """What the units of a group hold of one dimension of one weight."""

    tensor: str
    """Name of an initializer, output of a Constant node, or one of ``Analysis.aliases``."""
    axis: int
    indices: NDArray[np.int64]
    """Unit to its positions along the axis: (units, positions per unit)."""


@dataclass(frozen=True)
class Group:
    """Units that are alike: each is the same number of positions in the same dimensions of the same weights."""

    name: str
    """Of the first weight, in the order of the graph, that produces these units."""
    units: int
    slices: tuple[Slice, ...]
    roots: NDArray[np.int64]
    """Unit to its label in ``Analysis.axes``: (units,)."""


@dataclass(frozen=True)
class Analysis:
    """What can go, what cannot, and what ``remove`` needs to correct the sizes that a graph states."""

    groups: tuple[Group, ...]
    kept: dict[str, str]
    """Weights no part of which can go, and operators that are not understood, by name: why, as a sentence."""
    axes: dict[str, tuple[Axis, ...]]
    """For every tensor and dimension, each position's unit as a label; -1 where it stays."""
    targets: dict[str, list[Size]]
    """The shape that a Reshape, an Expand or the like is told to make, by its output."""
    cuts: dict[str, list[Cut]]
    """What each Slice takes, by its output."""
    shapes: Shapes
    aliases: dict[str, str]
    """Vectors that are used more than once: the name that a further use has here, to the initializer's."""

    def group(self, name: str) -> Group:
        """The group of that name.

        Raises:
            KeyError: there is none.
        """
        found = next((group for group in self.groups if group.name == name), None)
        if found is None:
            raise KeyError(f"no group is named {name!r}")
        return found


NOTHING = Analysis((), {}, {}, {}, {}, {}, {})
"""Of a graph that cannot be analysed at all."""


def analyse(proto: ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Analysis:
    """Find what of ``proto`` can be removed without touching its inputs and outputs.

    Linear in nodes and in the sizes of dimensions; the values of weights are not looked at. An operator that is not
    understood is no error: what reaches it is kept, and said so.

    ``input_shapes`` are shapes that the model accepts, for those of its dimensions that are open (without them a batch
    of 2, and 64 of anything else). They only help to tell dimensions apart: what is found holds for all others.
    """
    nodes, aliases = unshared(proto.graph)
    shapes = tensor_shapes(proto, input_shapes)
    shapes |= {alias: shapes[name] for alias, name in aliases.items()}
    first = _walked(Walk(proto, shapes, aliases, None), nodes, proto)
    walk = _walked(Walk(proto, shapes, aliases, first.offered()), nodes, proto)
    # Most tensors have the very arrays of their inputs.
    arrays = {id(axis): axis for tensor in walk.axes.values() for axis in tensor}
    roots = {key: walk.labels.roots(axis) for key, axis in arrays.items()}
    axes = {name: tuple(roots[id(axis)] for axis in tensor) for name, tensor in walk.axes.items()}
    weights = [name for name, tensor in walk.constants.items() if tensor.data_type in FLOATS]
    groups = _groups({name: axes[name] for name in _in_order(nodes, weights) if name in axes}, list(roots.values()))
    pruned = {aliases.get(part.tensor, part.tensor) for group in groups for part in group.slices}
    kept = dict(walk.kept)
    for name in weights:
        if name not in pruned and name not in aliases and max(walk.constants[name].dims, default=1) > 1:
            kept[name] = _why(walk, name)
    return Analysis(groups, kept, axes, walk.targets, walk.cuts, shapes, aliases)


def _walked(walk: Walk, nodes: list[NodeProto], proto: ModelProto) -> Walk:
    for node in nodes:
        follow(walk, node)
        walk.visit(node, RULES)
    for output in proto.graph.output:
        reason = f"It is part of the model's output {output.name}, which stays as it is."
        for axis in walk.axes.get(output.name, ()):
            walk.labels.pin(axis, reason)
        walk.pin_sizes(output.name, reason)
    return walk


def _in_order(nodes: list[NodeProto], weights: list[str]) -> list[str]:
    """``weights`` by first use, so that names do not depend on how the file lists them."""
    uses = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
    known = set(weights)
    return [name for name in uses if name in known]


def _groups(weights: dict[str, tuple[Axis, ...]], dimensions: list[Axis]) -> tuple[Group, ...]:
    """Units with the same slices, in the same ``dimensions`` of the graph: so that no section of a Split is emptied."""
    positions: dict[int, list[tuple[str, int, NDArray[np.int64]]]] = defaultdict(list)
    for name, axes in weights.items():
        for number, axis in enumerate(axes):
            if not len(axis):
                continue
            order = np.argsort(axis, kind="stable")
            found, starts = np.unique(axis[order], return_index=True)
            for root, where in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
                if root >= 0:
                    positions[root].append((name, number, where))
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, axis in enumerate(dimensions):
        for root, count in zip(*(part.tolist() for part in np.unique(axis, return_counts=True)), strict=True):
            seen[root].append((index, count))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for root in positions:
        alike[tuple(seen[root])].append(root)
    groups: list[Group] = []
    names: dict[str, int] = defaultdict(int)
    for roots in alike.values():
        if len(roots) == 1:
            continue
        slices = tuple(
            Slice(name, number, np.stack([positions[root][index][2] for root in roots]))
            for index, (name, number, _) in enumerate(positions[roots[0]])
        )
        first = slices[0].tensor
        names[first] += 1
        name = first if names[first] == 1 else f"{first}#{names[first]}"
        groups.append(Group(name, len(roots), slices, np.array(roots, np.int64)))
    return tuple(groups)


def _why(walk: Walk, name: str) -> str:
    """For each dimension the reason of its first position; alike ones once."""
    reasons = (walk.labels.reason(int(axis[0])) for axis in walk.axes.get(name, ()) if len(axis) > 1)
    distinct = list(dict.fromkeys(filter(None, reasons)))
    return " ".join(distinct) or f"{name} is used by no operator, or only as a whole."
