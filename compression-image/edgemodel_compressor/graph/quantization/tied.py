"""Tied weights: a table that words are looked up in, and that scores them at the end, is stored once.

Folding constants writes the table a second time, turned, as the weight of the last product. Integers are stored as that
product needs them, and rows are looked up in the same integers, turned while the model is loaded.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemodel_compressor.graph.tidy import has_subgraphs, replace_initializers

_LEAST = 1024
"""Elements of a table that is worth a node of its own."""


def twins(model: ModelProto) -> dict[str, str]:
    """Tables of ``model`` that are only looked up in, by row, each with the weight that is the same one turned."""
    if has_subgraphs(model):
        return {}
    known = {tensor.name: tensor for tensor in model.graph.initializer if _is_table(tensor)}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    tables = [name for name in known if readers.get(name) and all(_looks_up(node, name) for node in readers[name])]
    return {name: found for name in tables if (found := _turned(known, name)) is not None}


def lookups(model: ModelProto, tables: Iterable[str]) -> set[str]:
    """The names of the nodes that look rows up in ``tables``."""
    wanted = set(tables)
    return {node.name for node in model.graph.node if node.op_type == "Gather" and node.input[0] in wanted}


def share_integers(model: ModelProto, pairs: Mapping[str, str]) -> bool:
    """Look the rows of each table of ``pairs`` up in the integers of its twin, in place; False, and nothing done, where
    a twin has no symmetric 8-bit integers.

    ``model`` is what onnxruntime's tools made, with the tables still in float.
    """
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    if not all(_symmetric(known, table, twin) for table, twin in pairs.items()):
        return False
    nodes: list[NodeProto] = []
    for table, twin in pairs.items():
        turned = f"{table}_tied_rows"
        nodes.append(helper.make_node("Transpose", [f"{twin}_quantized"], [turned], name=turned, perm=[1, 0]))
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in pairs:
            scale = known[f"{pairs[node.input[0]]}_scale"]
            nodes.extend(_dequantized(model, node, scale))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


def share_floats(model: ModelProto) -> None:
    """Drop the twin of each table of ``model`` and turn the table instead, in place."""
    pairs = twins(model)
    turns = [
        helper.make_node("Transpose", [table], [twin], name=f"{twin}_turned", perm=[1, 0])
        for table, twin in pairs.items()
    ]
    nodes = [*turns, *model.graph.node]
    replace_initializers(
        model.graph, [tensor for tensor in model.graph.initializer if tensor.name not in pairs.values()]
    )
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_table(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and math.prod(tensor.dims) >= _LEAST


def _looks_up(node: NodeProto, name: str) -> bool:
    axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
    return node.op_type == "Gather" and axis == 0 and node.input[0] == name


def _turned(known: Mapping[str, TensorProto], name: str) -> str | None:
    shape = list(reversed(known[name].dims))
    for other, tensor in known.items():
        if other == name or list(tensor.dims) != shape:
            continue
        if np.array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(known[name]).T):
            return other
    return None


def _symmetric(known: Mapping[str, TensorProto], table: str, twin: str) -> bool:
    weight, scale, zero = (known.get(f"{twin}_{part}") for part in ("quantized", "scale", "zero_point"))
    if weight is None or scale is None or zero is None or table not in known:
        return False
    if weight.data_type != TensorProto.INT8 or list(weight.dims) != list(reversed(known[table].dims)):
        return False
    return not numpy_helper.to_array(zero).any() and math.prod(scale.dims) in (1, weight.dims[1])


def _dequantized(model: ModelProto, node: NodeProto, scale: TensorProto) -> list[NodeProto]:
    """``node`` as the rows of integers that it looks up, times the scale of each."""
    table, indices, output = node.input[0], node.input[1], node.output[0]
    integers, wide, factor = f"{output}_tied_integers", f"{output}_tied_wide", scale.name
    nodes = [
        helper.make_node("Gather", [f"{table}_tied_rows", indices], [integers], name=node.name, axis=0),
        helper.make_node("Cast", [integers], [wide], name=wide, to=TensorProto.FLOAT),
    ]
    if math.prod(scale.dims) > 1:
        looked_up, factor, last = (f"{output}_tied_{part}" for part in ("scales", "factor", "axis"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), last))
        nodes.append(helper.make_node("Gather", [scale.name, indices], [looked_up], name=looked_up, axis=0))
        nodes.append(helper.make_node("Unsqueeze", [looked_up, last], [factor], name=factor))
    return [*nodes, helper.make_node("Mul", [wide, factor], [output], name=f"{output}_tied")]
