"""Sizes that a graph states, after some of its dimensions shrank: targets of reshapes, sections, bounds, groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgemodel_compressor.graph.structure.operators.sizes import TARGETS
from edgemodel_compressor.graph.structure.selection import Selection
from edgemodel_compressor.graph.structure.walk import attribute, captured


@dataclass
class _SizeUpdater:
    selection: Selection
    opset: int
    taken: set[str]
    """The names of all tensors."""
    gone: NDArray[np.int64]
    """The labels that go."""
    added: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """New constants by name."""
    dropped: set[str] = field(default_factory=set)
    """Inputs that nodes no longer have."""
    before: list[NodeProto] = field(default_factory=list)
    """Nodes to put before the one that is looked at."""

    def stays(self, name: str) -> list[NDArray[np.bool_]]:
        """For each dimension of a tensor, which of its positions stay."""
        return [~np.isin(axis, self.gone) for axis in self.selection.analysis.axes[name]]

    def constant(self, name: str, values: Sequence[int]) -> str:
        """The name of a constant of its own: what a node states may be shared with nodes that shrink otherwise."""
        name = self.free(name)
        self.added[name] = np.array(values, np.int64)
        return name

    def free(self, name: str) -> str:
        """``name``, or one like it that the graph does not have."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def drop_inputs(self, node: NodeProto, positions: slice) -> None:
        """Take inputs from a node; constants that nothing reads any more go, too."""
        self.dropped |= set(node.input[positions])
        del node.input[positions]


def update_stated_sizes(proto: ModelProto, selection: Selection) -> None:
    """Correct, in place, what the nodes of ``proto`` state of dimensions that shrank."""
    analysis = selection.analysis
    gone = [analysis.group(name).roots[list(units)] for name, units in selection.removed.items()]
    opset = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
    taken = set(analysis.axes) | {name for node in proto.graph.node for name in (*node.input, *node.output)}
    updater = _SizeUpdater(selection, opset, taken, np.concatenate(gone) if gone else np.zeros(0, np.int64))
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        if _touched(updater, node):
            _RULES.get(node.op_type, _nothing)(updater, node)
        nodes += [*updater.before, node]
        updater.before.clear()
    stale = updater.dropped - _used(proto.graph, nodes)
    nodes = [node for node in nodes if node.op_type != "Constant" or node.output[0] not in stale]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    for index in reversed(range(len(proto.graph.initializer))):
        if proto.graph.initializer[index].name in stale:
            del proto.graph.initializer[index]
    proto.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in updater.added.items())


def _touched(updater: _SizeUpdater, node: NodeProto) -> bool:
    names = [name for name in (*node.input, *node.output) if name in updater.selection.analysis.axes]
    return any(not stay.all() for name in names for stay in updater.stays(name))


def _used(graph: GraphProto, nodes: Sequence[NodeProto]) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.output)}
    for node in nodes:
        names |= set(node.input) | captured(node)
    return names


def _nothing(updater: _SizeUpdater, node: NodeProto) -> None:
    """Most operators take their sizes from their inputs."""


def _target(updater: _SizeUpdater, node: NodeProto) -> None:
    """A stated shape: the entries of dimensions that shrank, where they are numbers."""
    position = TARGETS[node.op_type]
    if position >= len(node.input) or not node.input[position]:
        return
    stays = updater.stays(node.output[0])
    sizes = updater.selection.analysis.targets.get(node.output[0], [])
    offset = len(stays) - len(sizes)
    changed = {
        index: int(stays[offset + index].sum())
        for index, size in enumerate(sizes)
        if isinstance(size, int) and size > 1 and not stays[offset + index].all()
    }
    if not changed:
        return
    name, stated = f"{node.output[0]}_target", node.input[position]
    if all(isinstance(size, int) for size in sizes):
        numbers = [changed.get(index, size) for index, size in enumerate(sizes) if isinstance(size, int)]
        updater.dropped.add(stated)
        node.input[position] = updater.constant(name, numbers)
        return
    where = updater.constant(f"{name}_where", list(changed))
    values = updater.constant(f"{name}_sizes", list(changed.values()))
    operator = "ScatterElements" if updater.opset >= 11 else "Scatter"
    node.input[position] = updater.free(name)
    updater.before.append(
        helper.make_node(operator, [stated, where, values], [node.input[position]], name=node.input[position])
    )


def _groups(updater: _SizeUpdater, node: NodeProto) -> None:
    """A grouped convolution lost whole groups."""
    groups = attribute(node, "group", 1)
    if groups == 1:
        return
    channels = updater.stays(node.input[0])[1]
    _set_attribute(node, "group", groups * int(channels.sum()) // len(channels))


def _normed_groups(updater: _SizeUpdater, node: NodeProto) -> None:
    """A group norm lost whole groups."""
    channels = updater.stays(node.input[0])[1]
    _set_attribute(node, "num_groups", attribute(node, "num_groups", 1) * int(channels.sum()) // len(channels))


def _hidden(updater: _SizeUpdater, node: NodeProto) -> None:
    """A recurrent layer lost units of its state."""
    _set_attribute(node, "hidden_size", int(updater.stays(node.input[2])[2].sum()))


def _sections(updater: _SizeUpdater, node: NodeProto) -> None:
    """The sections of a Split."""
    stays = updater.stays(node.input[0])
    along = attribute(node, "axis", 0) % len(stays)
    if stays[along].all():
        return
    sections = [int(updater.stays(name)[along].sum()) for name in node.output]
    _drop_attribute(node, "num_outputs")
    if updater.opset < 13:
        _set_attribute(node, "split", sections)
        return
    updater.drop_inputs(node, slice(1, None))
    node.input.append(updater.constant(f"{node.output[0]}_sections", sections))


def _bounds(updater: _SizeUpdater, node: NodeProto) -> None:
    """The bounds of a Slice: where a dimension shrank, as many positions before them as stay."""
    stays = updater.stays(node.input[0])
    parts = updater.selection.analysis.cuts[node.output[0]]
    if all(stays[part.axis].all() for part in parts):
        return
    stated = [
        part.stated
        if stays[part.axis].all()
        else (int(stays[part.axis][: part.actual[0]].sum()), int(stays[part.axis][: part.actual[1]].sum()))
        for part in parts
    ]
    numbers = {
        "starts": [start for start, _ in stated],
        "ends": [stop for _, stop in stated],
        "axes": [part.axis for part in parts],
    }
    updater.drop_inputs(node, slice(1, None))
    for name, values in numbers.items():
        if updater.opset < 10:
            _set_attribute(node, name, values)
        else:
            node.input.append(updater.constant(f"{node.output[0]}_{name}", values))


def _set_attribute(node: NodeProto, name: str, value: int | list[int]) -> None:
    _drop_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def _drop_attribute(node: NodeProto, name: str) -> None:
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


_RULES: Mapping[str, Callable[[_SizeUpdater, NodeProto], None]] = {
    **dict.fromkeys(TARGETS, _target),
    **dict.fromkeys(("Conv", "ConvTranspose"), _groups),
    **dict.fromkeys(("GRU", "LSTM"), _hidden),
    "GroupNormalization": _normed_groups,
    "Slice": _bounds,
    "Split": _sections,
}
