"""Residual branches: what a graph adds to a tensor that goes on beside it, and how much of that could go as a whole.

``x + f(x)`` still has a meaning without ``f``. A block less makes a network of small layers faster, which takes as long
to start its operators as to compute them; fewer channels do not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper

from edgemodel_compressor.graph.shapes import tensor_shapes
from edgemodel_compressor.graph.tidy import drop_unused, has_subgraphs
from edgemodel_compressor.graph.weights import float_weights


@dataclass(frozen=True)
class Branch:
    """``joint`` = ``skip`` + what the branch computes of ``skip``; all names of tensors."""

    name: str
    """Of its first weight."""
    skip: str
    joint: str


def residual_branches(proto: ModelProto) -> tuple[Branch, ...]:
    """The branches of ``proto`` that hold weights and no other branch, in the order of the graph.

    A branch starts at the very tensor that it is added to, and has its shape; what a projection is added to (where the
    number of channels changes) is none. Graphs with loops have none that are known.
    """
    if has_subgraphs(proto):
        return ()
    weights = float_weights(proto.graph)
    shapes = tensor_shapes(proto)
    # Sets of nodes as the bits of an integer.
    behind: dict[str, int] = {}
    holding: list[str | None] = []
    found: list[tuple[Branch, int]] = []
    joints = 0
    for index, node in enumerate(proto.graph.node):
        holding.append(next((name for name in node.input if name in weights), None))
        before = 0
        for name in node.input:
            before |= behind.get(name, 0)
        for skip, added in _operands(node):
            region = behind.get(added, 0) & ~behind.get(skip, 0)
            alike = skip in shapes and shapes[skip] == shapes.get(added)
            if not (alike and _reads(proto.graph.node, region, skip)) or region & joints:
                continue
            first = next((name for number, name in enumerate(holding) if name and region >> number & 1), None)
            if first is not None:
                found.append((Branch(first, skip, node.output[0]), index))
                joints |= 1 << index
        for name in node.output:
            behind[name] = before | 1 << index
    return tuple(branch for branch, _ in found)


def without(proto: ModelProto, branches: Iterable[Branch]) -> ModelProto:
    """A copy of ``proto`` in which each of ``branches`` adds nothing, without what only they computed."""
    smaller = ModelProto()
    smaller.CopyFrom(proto)
    graph = smaller.graph
    instead: dict[str, str] = {}
    # In the order of the graph: a skip may be the joint of one before.
    for branch in branches:
        instead[branch.joint] = instead.get(branch.skip, branch.skip)
    outputs = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        if node.output[0] in instead:
            if node.output[0] in outputs:
                nodes.append(helper.make_node("Identity", [instead[node.output[0]]], [node.output[0]], node.name))
            continue
        for position, name in enumerate(node.input):
            node.input[position] = instead.get(name, name)
        nodes.append(node)
    needed, kept = outputs, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]
    drop_unused(smaller)
    return smaller


def _operands(node: NodeProto) -> Sequence[tuple[str, str]]:
    """Of a sum: which of the two could be the skip, and which the branch."""
    if node.op_type != "Add":
        return ()
    first, second = node.input
    return (first, second), (second, first)


def _reads(nodes: Sequence[NodeProto], region: int, skip: str) -> bool:
    """Whether any node of ``region`` reads ``skip``."""
    while region:
        index = region.bit_length() - 1
        if skip in nodes[index].input:
            return True
        region ^= 1 << index
    return False
