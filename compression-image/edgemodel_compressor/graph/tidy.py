"""Same graph, same bytes on every run, and nothing in the file that ONNX Runtime does not need."""

from collections.abc import Iterable

import onnx
from onnx import TensorProto


def tidy(model: onnx.ModelProto) -> None:
    """Remove the traces of tools from ``model``, in place, and the shapes that a loader infers again."""
    used = {node.domain for node in model.graph.node} | {function.domain for function in model.functions}
    used |= {node.domain for function in model.functions for node in function.node} | {""}
    if not has_subgraphs(model):
        imports = sorted((item for item in model.opset_import if item.domain in used), key=lambda item: item.domain)
        imports = [onnx.helper.make_opsetid(item.domain, item.version) for item in imports]
        del model.opset_import[:]
        model.opset_import.extend(imports)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name = model.producer_version = model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def has_subgraphs(model: onnx.ModelProto) -> bool:
    """Whether ``model`` has loops or branches, which see the names of the graph around them."""
    return any(attribute.HasField("g") or attribute.graphs for node in model.graph.node for attribute in node.attribute)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove initializers that nothing reads, in place."""
    if has_subgraphs(model):
        return
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    keep = [tensor for tensor in model.graph.initializer if tensor.name in used]
    replace_initializers(model.graph, keep)


def replace_initializers(graph: onnx.GraphProto, tensors: Iterable[TensorProto]) -> None:
    """Make ``tensors`` the initializers of ``graph``; ones that are also its inputs stop being so."""
    kept = list(tensors)
    before = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in before]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.initializer[:]
    graph.initializer.extend(kept)
