"""The shape of every tensor of a graph, without copying its weights."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator

from edgemodel_compressor.graph.weights import constants

Shapes = dict[str, tuple[int, ...]]

_OPEN_BATCH, _OPEN_SIZE = 2, 64
_SMALL = 1024
_INTEGERS = {TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
_FOLDABLE = {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Gather", "Mul", "Slice", "Squeeze", "Sub"}
_FOLDABLE |= {"Identity", "Reshape", "Scatter", "ScatterElements", "Unsqueeze", "Where"}
"""What exporters compute sizes with, and what corrects them after pruning."""


def tensor_shapes(proto: ModelProto, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Shapes:
    """The shapes of inputs, weights and of each node's outputs, by name; what cannot be told is absent.

    ``input_shapes`` fills in the model's open dimensions. Without it an open first dimension counts as 2 and any other
    as 64: enough to tell the dimensions of a graph apart, since those that weights have are never open.
    """
    folded = folded_sizes(proto)
    while True:
        shapes = _infer(proto, folded, input_shapes or {})
        # Inference follows sizes through fewer operators than exporters use: what is known by now may tell the rest.
        more = folded_sizes(proto, shapes)
        if len(more) == len(folded) or all(name in shapes for node in proto.graph.node for name in node.output if name):
            return shapes
        folded = more


def _infer(proto: ModelProto, folded: Mapping[str, TensorProto], input_shapes: Mapping[str, Sequence[int]]) -> Shapes:
    skeleton = ModelProto(ir_version=proto.ir_version)
    skeleton.opset_import.extend(proto.opset_import)
    skeleton.functions.extend(proto.functions)
    graph = skeleton.graph
    graph.name = proto.graph.name
    graph.node.extend(_inferable(node) for node in proto.graph.node if node.output[0] not in folded)
    graph.initializer.extend(folded.values())
    _add_inputs(graph, proto.graph, input_shapes)
    for output in proto.graph.output:
        # Without its declared shape, which may name dimensions that are filled in here.
        graph.output.append(helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, None))
    inferred = onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    found = {tensor.name: tuple(tensor.dims) for tensor in (*proto.graph.initializer, *folded.values())}
    found |= {sparse.values.name: tuple(sparse.dims) for sparse in proto.graph.sparse_initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        shape = _static(value)
        if shape is not None:
            found[value.name] = shape
    return found


def _inferable(node: NodeProto) -> NodeProto:
    """``node``, or one of its shape: of a GroupNormalization, which is a function, onnx infers none."""
    if node.op_type != "GroupNormalization" or node.domain not in ("", "ai.onnx"):
        return node
    return helper.make_node("Identity", node.input[:1], node.output)


def folded_sizes(proto: ModelProto, shapes: Shapes | None = None) -> dict[str, TensorProto]:
    """Small whole numbers that nodes compute from constants alone, by the name of the output.

    With ``shapes``, what Shape returns of a tensor of known shape counts as a constant, too.
    """
    opset = next((item for item in proto.opset_import if item.domain in ("", "ai.onnx")), None)
    inputs = {value.name for value in proto.graph.input}
    known = {
        name: tensor
        for name, tensor in constants(proto.graph).items()
        if tensor.data_type in _INTEGERS and prod(tensor.dims) <= _SMALL and name not in inputs
    }
    folded: dict[str, TensorProto] = {}
    for node in proto.graph.node:
        value: NDArray[Any] | None = None
        if node.op_type == "Shape" and shapes and node.input[0] in shapes:
            ends = {item.name: item.i for item in node.attribute}
            value = np.array(shapes[node.input[0]][ends.get("start", 0) : ends.get("end")], np.int64)
        elif opset and _foldable(node, known):
            value = _compute(node, known, opset)
        if value is not None and value.dtype in (np.int32, np.int64, np.bool_) and value.size <= _SMALL:
            known[node.output[0]] = folded[node.output[0]] = numpy_helper.from_array(value, node.output[0])
    return folded


def _foldable(node: NodeProto, known: Mapping[str, TensorProto]) -> bool:
    if node.op_type not in _FOLDABLE or not node.input or any(name not in known for name in node.input):
        return False
    if node.op_type != "ConstantOfShape":
        return True
    return prod(int(size) for size in numpy_helper.to_array(known[node.input[0]]).reshape(-1)) <= _SMALL


def _compute(node: NodeProto, known: Mapping[str, TensorProto], opset: OperatorSetIdProto) -> NDArray[Any]:
    # A Constant node's tensor has no name of its own.
    inputs = [numpy_helper.from_array(numpy_helper.to_array(known[name]), name) for name in dict.fromkeys(node.input)]
    graph = helper.make_graph([node], "fold", [], [ValueInfoProto(name=node.output[0])], inputs)
    results = ReferenceEvaluator(helper.make_model(graph, opset_imports=[opset])).run(None, {})
    value: NDArray[Any] = np.asarray(results[0])  # type: ignore[index]
    return value


def _add_inputs(target: GraphProto, source: GraphProto, input_shapes: Mapping[str, Sequence[int]]) -> None:
    weights = {tensor.name for tensor in source.initializer}
    for value in source.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            target.input.append(value)
            continue
        given = input_shapes.get(value.name)
        shape = (
            [
                dim.dim_value if dim.dim_value > 0 else _OPEN_SIZE if index else _OPEN_BATCH
                for index, dim in enumerate(tensor.shape.dim)
            ]
            if given is None
            else list(given)
        )
        target.input.append(helper.make_tensor_value_info(value.name, tensor.elem_type, shape))
    for sparse in source.sparse_initializer:
        kind = sparse.values.data_type
        target.input.append(helper.make_tensor_value_info(sparse.values.name, kind, list(sparse.dims)))
    for initializer in source.initializer:
        # Small ones may be the targets of reshapes; of large ones the shape is enough.
        if len(initializer.dims) <= 1 and sum(initializer.dims) <= _SMALL:
            target.initializer.append(initializer)
        else:
            target.input.append(
                helper.make_tensor_value_info(initializer.name, initializer.data_type, list(initializer.dims))
            )


def _static(value: ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)
