"""Half precision to single: ONNX Runtime computes FP16 in FP32 on a CPU, and tools know FP32 alone."""

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgemodel_compressor.graph.tidy import has_subgraphs

_HALF, _SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT
_KINDS = ("to", "dtype")
"""Attributes that name the type of an output."""


def in_half(model: ModelProto) -> bool:
    """Whether ``model`` computes in half precision: it has weights, inputs or outputs of that type."""
    values = (*model.graph.input, *model.graph.output)
    return any(tensor.data_type == _HALF for tensor in model.graph.initializer) or any(map(_is_half, values))


def widen(model: ModelProto) -> bool:
    """Make ``model`` compute in FP32, in place; inputs and outputs keep their types. False, and nothing done, where it
    has loops or branches.
    """
    if has_subgraphs(model) or model.functions:
        return False
    graph = model.graph
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.name in _KINDS and attribute.i == _HALF:
                attribute.i = _SINGLE
    del graph.value_info[:]
    initialized = {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input if _is_half(value) and value.name not in initialized}
    outputs = {value.name for value in graph.output if _is_half(value)}
    for node in graph.node:
        node.input[:] = [f"{name}_wide" if name in inputs | outputs else name for name in node.input]
        node.output[:] = [f"{name}_wide" if name in outputs else name for name in node.output]
    before = [
        helper.make_node("Cast", [name], [f"{name}_wide"], name=f"{name}_wide", to=_SINGLE) for name in sorted(inputs)
    ]
    after = [
        helper.make_node("Cast", [f"{name}_wide"], [name], name=f"{name}_half", to=_HALF) for name in sorted(outputs)
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _is_half(value: ValueInfoProto) -> bool:
    return value.type.tensor_type.elem_type == _HALF


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == _HALF:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
