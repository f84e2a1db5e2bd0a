"""Vectors that several nodes share, told apart.

Exporters store equal tensors once, and in a young network many biases and norms are equal: all zero, all one. Taken at
their word, layers that have nothing to do with each other would have to shrink alike. A vector costs next to nothing,
so each use of one gets a copy. Matrices stay shared, since that is what tied weights are.
"""

from collections import Counter

from onnx import GraphProto, ModelProto, NodeProto

from edgemodel_compressor.graph.weights import FLOATS


def unshared(graph: GraphProto) -> tuple[list[NodeProto], dict[str, str]]:
    """The nodes of ``graph`` with a name of its own for every use of a vector, and the vector by each new name.

    The first use keeps the name. Nodes that need no new name are those of ``graph`` itself.
    """
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input}
    vectors = {
        tensor.name
        for tensor in graph.initializer
        if tensor.data_type in FLOATS and len(tensor.dims) == 1 and tensor.dims[0] > 1 and tensor.name not in inputs
    }
    uses: Counter[str] = Counter()
    aliases: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        again = [position for position, name in enumerate(node.input) if name in vectors and uses[name]]
        uses.update(name for name in node.input if name in vectors)
        if again:
            original, node = node, NodeProto()
            node.CopyFrom(original)
            for position in again:
                vector = node.input[position]
                alias = _free(f"{vector}_{len(aliases) + 2}", taken)
                aliases[alias] = vector
                node.input[position] = alias
        nodes.append(node)
    return nodes, aliases


def unshare(proto: ModelProto) -> None:
    """Do to ``proto``, in place, what ``unshared`` describes."""
    nodes, aliases = unshared(proto.graph)
    if not aliases:
        return
    for node, renamed in zip(proto.graph.node, nodes, strict=True):
        if node.input != renamed.input:
            node.ClearField("input")
            node.input.extend(renamed.input)
    vectors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for alias, name in aliases.items():
        proto.graph.initializer.add().CopyFrom(vectors[name])
        proto.graph.initializer[-1].name = alias


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
