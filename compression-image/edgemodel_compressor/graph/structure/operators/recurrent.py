"""LSTM and GRU: a hidden unit is a row in each gate, a column of what is remembered, and a place in every state."""

from onnx import NodeProto, helper

from edgemodel_compressor.graph.structure.labels import Axis
from edgemodel_compressor.graph.structure.walk import Opaque, Walk, attribute, title

GATES = {"LSTM": 4, "GRU": 3}
_ACTIVATIONS = {"Sigmoid", "Tanh"}
"""A unit without weights remembers nothing with these: its gates are half open, and what they let in is zero."""


def recurrent(walk: Walk, node: NodeProto) -> None:
    """Input (steps, batch, features), weights (directions, gates·hidden, …), states (directions, batch, hidden)."""
    gates = GATES[node.op_type]
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    data, weights, memory = (walk.axes[name] for name in inputs[:3])
    if inputs[1] not in walk.plain or inputs[2] not in walk.plain:
        raise Opaque(f"The weights of {title(node)} are computed while the model runs.")
    if inputs[7] or attribute(node, "layout", 0) or not _usual(node):
        raise Opaque(f"{title(node)} has peepholes, other activations, or the batch in front.")
    hidden = memory[2]
    units = [weights[1], memory[1], *([walk.axes[inputs[3]][1]] if inputs[3] else [])]
    for stacked in units:
        for part in stacked.reshape(-1, len(hidden)):
            walk.labels.unite(hidden, part)
    if len(weights[1]) != gates * len(hidden):
        raise Opaque(f"{title(node)} does not have {gates} gates.")
    walk.labels.unite(data[2], weights[2])
    reason = f"It is a direction, or a step, of {title(node)}."
    for axis in (data[0], weights[0], memory[0]):
        walk.labels.pin(axis, reason)
    if inputs[3]:
        walk.labels.pin(walk.axes[inputs[3]][0], reason)
    for name in inputs[5:7]:
        if name:
            _state(walk, node, name, hidden, data[1])
    directions = walk.labels.fixed(len(weights[0]), reason)
    shapes = ((data[0], directions, data[1], hidden), *[(directions, data[1], hidden)] * 2)
    for name, axes in zip(node.output, shapes, strict=False):
        if name:
            walk.give(name, axes)


def _state(walk: Walk, node: NodeProto, name: str, hidden: Axis, batch: Axis) -> None:
    """What a unit remembers at first: it goes with the unit where nothing is remembered."""
    if not walk.is_zero(name):
        walk.labels.pin(hidden, f"{title(node)} is given what it remembers.")
    axes = walk.axes[name]
    walk.labels.unite(hidden, axes[2])
    walk.labels.unite(batch, axes[1])


def _usual(node: NodeProto) -> bool:
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name.decode() for name in found.get("activations", ())} <= _ACTIVATIONS
