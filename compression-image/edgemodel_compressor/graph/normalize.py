"""The forms of a graph that every method understands, instead of those that some exporters write.

``normalize`` makes a file that methods start from: sparse weights become dense, functions and branches on a constant
become part of the graph, weights stop being inputs, the opset is one that has integers in ONNX Runtime, and half
precision becomes single. ``flatten_biases`` is about what the runtime's own rewriting leaves. The answers stay the
same; the original itself is served as it is.
"""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from edgemodel_compressor.errors import NotApplicableError, is_exhausted
from edgemodel_compressor.graph.files import remove, scratch
from edgemodel_compressor.graph.tidy import has_subgraphs, replace_initializers
from edgemodel_compressor.graph.widen import in_half, widen
from edgemodel_compressor.onnxmodel.modelfile import is_large, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Session, optimize
from edgemodel_compressor.onnxmodel.walk import graphs

_IR = 8
"""Before version 4 an initializer had to be an input as well; this is what today's tools write."""
_OPSET = 27
"""The last one of which ONNX Runtime has QuantizeLinear and DequantizeLinear."""
_MOST_DENSE = 2**30
"""Bytes that a sparse weight may take once it is dense."""


def normalize(source: Path, folder: Path) -> Path:
    """The model at ``source`` in forms that methods understand, as a file in ``folder``; ``source`` if it has them.

    Raises:
        NotApplicableError: a sparse weight is too large to be written out.
    """
    model = read_model(source, weights=False)
    names = {tensor.name for tensor in model.graph.initializer}
    overridable = any(value.name in names for value in model.graph.input)
    rewritten = bool(model.functions) or has_subgraphs(model)
    half, newer = in_half(model), _may_be_older(model)
    if not (overridable or rewritten or half or newer or model.graph.sparse_initializer):
        return source
    target = scratch(folder, "normalized", source)
    model = read_model(source)
    model.graph.initializer.extend(_dense(sparse) for sparse in model.graph.sparse_initializer)
    del model.graph.sparse_initializer[:]
    if newer:
        _default_opset(model).version = _OPSET
    if overridable:
        replace_initializers(model.graph, list(model.graph.initializer))
        model.ir_version = max(model.ir_version, _IR)
    write_model(model, target)
    if rewritten:
        large, plain = is_large(model), scratch(folder, "plain", source)
        del model
        optimize(target, plain, large)
        write_model(read_model(plain), target)
        remove(plain)
    return _in_single(target, scratch(folder, "single", source)) if half else target


def _may_be_older(model: onnx.ModelProto) -> bool:
    """Whether the opset is beyond _OPSET, and all operators of ``model`` are the same in that."""
    opset = _default_opset(model)
    if opset.version <= _OPSET:
        return False
    used = {node.op_type for graph in graphs(model.graph) for node in graph.node if node.domain in ("", "ai.onnx")}
    used |= {node.op_type for function in model.functions for node in function.node}
    return all(_since(name, opset.version) == _since(name, _OPSET) for name in used)


def _default_opset(model: onnx.ModelProto) -> onnx.OperatorSetIdProto:
    found = [item for item in model.opset_import if item.domain in ("", "ai.onnx")]
    return found[0] if found else onnx.OperatorSetIdProto()


def _since(name: str, opset: int) -> int | None:
    """The version of the operator in ``opset``; None where there is none."""
    try:
        return int(onnx.defs.get_schema(name, max_inclusive_version=opset).since_version)
    except onnx.defs.SchemaError:
        return None


def _in_single(source: Path, target: Path) -> Path:
    """The model at ``source`` with its arithmetic in FP32, as ``target``; ``source`` where that cannot be."""
    model = read_model(source)
    if not widen(model):
        return source
    write_model(model, target)
    del model
    try:
        Session(target, 1)
    except Exception as error:  # ONNX Runtime raises a dozen types: some operators exist in half precision only
        if is_exhausted(error):
            raise
        remove(target)
        return source
    return target


def flatten_biases(model: onnx.ModelProto) -> None:
    """Make each constant bias of a Gemm that is a row (1, N) a vector (N,), in place: tools take it for one."""
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    made: dict[str, str] = {}
    for node in model.graph.node:
        if not _has_row(node, known):
            continue
        name = node.input[2]
        if name not in made:
            made[name] = f"{name}_vector"
            vector = numpy_helper.to_array(known[name]).reshape(-1)
            model.graph.initializer.append(numpy_helper.from_array(vector, made[name]))
        node.input[2] = made[name]
    used = {name for node in model.graph.node for name in node.input}
    if made and not has_subgraphs(model):
        kept = [item for item in model.graph.initializer if item.name not in made or item.name in used]
        replace_initializers(model.graph, [_copied(item) for item in kept])


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    if math.prod(shape) * values.itemsize > _MOST_DENSE:
        raise NotApplicableError(f"its sparse weight {sparse.values.name} is too large to be written out")
    dense = np.zeros(shape, values.dtype)
    # Of each value the number of its element, or its coordinates.
    where = np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T)
    dense[where] = values
    return numpy_helper.from_array(dense, sparse.values.name)


def _has_row(node: NodeProto, known: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gemm" or len(node.input) < 3 or node.input[2] not in known:
        return False
    dims = known[node.input[2]].dims
    return len(dims) == 2 and dims[0] == 1


def _copied(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    return copy
