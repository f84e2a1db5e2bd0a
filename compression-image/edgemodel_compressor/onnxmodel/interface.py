"""What a model takes and answers: the states of recurrent ones, and forms that a request can hold."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto, TensorProto, helper

from edgemodel_contract.task import TensorSpec

_RECURRENT: Mapping[str, tuple[int, ...]] = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
"""Operator to the positions of the states it starts from."""
_MOVES = {"Cast", "Gather", "Identity", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
"""What a state passes on its way to them."""


def states(proto: ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The names of the inputs that hold what a recurrent model remembers: zeros where a sequence begins.

    They come out again, in the same form and under another name; or an LSTM, GRU or RNN starts from them.
    """
    started = _started_from(proto)
    return tuple(
        spec.name
        for index, spec in enumerate(inputs)
        if spec.datatype.startswith("FP")
        and len(spec.shape) > 1
        and (spec.name in started or (index > 0 and any(_alike(spec, output) for output in outputs[1:])))
    )


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    return (
        one.datatype == other.datatype
        and len(one.shape) == len(other.shape)
        and all(a == b or -1 in (a, b) for a, b in zip(one.shape, other.shape, strict=True))
    )


def _started_from(proto: ModelProto) -> set[str]:
    """The tensors that recurrent operators start from, and those that these are taken from."""
    found: set[str] = set()
    for node in reversed(proto.graph.node):
        for position in _RECURRENT.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                found.add(node.input[position])
        if node.op_type in _MOVES and found & set(node.output):
            found.add(node.input[0])
    return found


def as_tensors(proto: ModelProto) -> bool:
    """Make tensors of what can be answered in no other form, in place; returns whether anything was changed.

    A ZipMap, as converters of scikit-learn put it at the end, becomes the tensor (samples, classes) it is made of. An
    output whose rank the file does not state gets the one that follows from the graph.
    """
    changed = False
    outputs = {value.name: value for value in proto.graph.output}
    for node in proto.graph.node:
        if node.op_type == "ZipMap" and node.output[0] in outputs:
            classes = max((len(item.ints) + len(item.strings) for item in node.attribute), default=0)
            shaped = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, [None, classes or None])
            outputs[node.output[0]].CopyFrom(shaped)
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
            changed = True
    if any(_without_rank(value) for value in outputs.values()):
        inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.output}
        for name, value in outputs.items():
            if _without_rank(value) and not _without_rank(inferred[name]):
                value.CopyFrom(inferred[name])
                changed = True
    return changed


def _without_rank(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
