"""From untrusted bytes to a checked model: every way in which a file is not one gets its own sentence."""

from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from edgemodel_compressor.errors import TaskError, first_line, told
from edgemodel_compressor.onnxmodel.external_data import check_external_data, has_external_data
from edgemodel_compressor.onnxmodel.interface import as_tensors, states
from edgemodel_compressor.onnxmodel.modelfile import model_size, read_model, tensor_array, write_model
from edgemodel_compressor.onnxmodel.runtime import Session, explain
from edgemodel_compressor.onnxmodel.tensors import apply_hints, read_spec
from edgemodel_compressor.onnxmodel.walk import graphs
from edgemodel_contract.task import Format, TensorSpec

_PROTOBUF_LIMIT = 2**31 - 1
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Model:
    """A model file that parses, passes the ONNX checker and loads in ONNX Runtime."""

    path: Path
    """With its data file beside it where ``modelfile`` keeps weights in one."""
    sha256: str
    """Of the source, as it was fetched."""
    size: int
    """Bytes of all files of the model."""
    inputs: tuple[TensorSpec, ...]
    """Open dimensions are -1; all but the first may still be filled in from samples."""
    outputs: tuple[TensorSpec, ...]
    states: tuple[str, ...] = ()
    """Inputs that hold what a recurrent model remembers."""
    source_format: Format = "ONNX"
    """What it was before it became ONNX."""
    difference: float | None = None
    """The largest relative difference between the original's outputs and those of its ONNX export."""

    def proto(self) -> ModelProto:
        """The parsed model with its weights. Not kept, because it is as large as the files."""
        return read_model(self.path)


def load_model(
    path: Path, sha256: str, hints: tuple[TensorSpec, ...], threads: int, folder: Path | None = None
) -> Model:
    """Check the file at ``path`` and read its inputs and outputs.

    A model with external data, which is looked for beside ``path`` and nowhere else, is rewritten to ``folder``
    (default: that of ``path``) the way ``modelfile`` keeps models.

    Raises:
        TaskError: InvalidModel where the file is at fault, UnsupportedModel where this engine is, InvalidTask
            where ``hints`` do not fit.
    """
    size = path.stat().st_size
    _refuse_other_formats(path, size)
    proto = _parse(path)
    if has_external_data(proto):
        check_external_data(proto, path.parent)
        whole = (folder or path.parent) / "gathered.onnx"
        write_model(proto, whole, path.parent)
        path, proto = whole, read_model(whole, weights=False)
    _refuse_custom_operators(proto)
    _refuse_newer_opset(proto)
    if told(partial(as_tensors, proto), False, lambda _: None):
        named = (folder or path.parent) / "tensors.onnx"
        write_model(proto, named, path.parent)
        path = named
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [read_spec(value, "input") for value in proto.graph.input if value.name not in weights]
    outputs = [read_spec(value, "output") for value in proto.graph.output]
    if not inputs:
        raise TaskError("InvalidModel", "The model has no input; export it with its inputs.")
    _refuse_broken_wiring(proto)
    try:
        # By path where weights lie in a second file: a model in memory has no folder to look for it in.
        onnx.checker.check_model(str(path) if has_external_data(proto) else proto)
    except Exception as error:  # the checker raises its own type, and others out of its C++ core
        raise TaskError("InvalidModel", f"The model breaks the rules of ONNX: {first_line(error)}.") from error
    _refuse_nan(proto, path.parent)
    found = states(proto, inputs, outputs)
    del proto
    require_loading(path, threads)
    return Model(path, sha256, model_size(path), apply_hints(inputs, hints), tuple(outputs), found)


def _refuse_other_formats(path: Path, size: int) -> None:
    if not size:
        raise TaskError("InvalidModel", "The model file is empty; check what the source holds.")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        raise TaskError(
            "InvalidModel",
            "The model is a Python pickle or a zip archive, as torch.save writes them, and is never unpickled; "
            "export it to ONNX with torch.onnx.export.",
        )
    if head[:4] in (b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08") or head[257:262] == b"ustar":
        raise TaskError("InvalidModel", "The model is an archive; unpack it and name the .onnx file itself.")
    if head.startswith(b"\x89HDF") or head[4:8] == b"TFL3":
        raise TaskError("InvalidModel", "The model is a Keras or TensorFlow Lite file; convert it with tf2onnx.")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise TaskError(
            "InvalidModel",
            "The source answered with a web page instead of a model; name the file itself, and its credentials "
            "if it needs any.",
        )
    if text.startswith(b"version https://git-lfs"):
        raise TaskError(
            "InvalidModel", "The file is a Git LFS pointer, not the model; use the download address of the file."
        )
    if size > _PROTOBUF_LIMIT:
        raise TaskError(
            "UnsupportedModel",
            f"The model has {size} bytes, and a single ONNX file ends at 2 GiB; save it with external data "
            "(onnx.save_model with save_as_external_data=True) and give the folder or an archive of it.",
        )


def _parse(path: Path) -> ModelProto:
    try:
        proto = read_model(path, weights=False)
    except Exception as error:  # protobuf's own type, and others out of its C core
        raise TaskError(
            "InvalidModel", "The file is not an ONNX model, or it was cut short; export or upload it again."
        ) from error
    if not proto.graph.node or not proto.graph.output or not proto.opset_import or not proto.ir_version:
        raise TaskError(
            "InvalidModel",
            "The file holds no complete ONNX graph; it is not an ONNX model, or it was cut short: export or "
            "upload it again.",
        )
    return proto


def _refuse_custom_operators(proto: ModelProto) -> None:
    local = {(function.domain, function.name) for function in proto.functions}
    custom = {
        f"{node.domain}.{node.op_type}"
        for graph in graphs(proto.graph)
        for node in graph.node
        if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in local
    }
    if custom:
        raise TaskError(
            "UnsupportedModel",
            f"The model uses operators that ONNX Runtime does not have: {', '.join(sorted(custom)[:5])}; export "
            "it with standard ONNX operators.",
        )


def _refuse_newer_opset(proto: ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise TaskError(
                "UnsupportedModel",
                f"The model uses opset {opset.version}, and this engine knows up to {newest}; export it with an older "
                "opset.",
            )


def _refuse_broken_wiring(proto: ModelProto) -> None:
    """What the checker says of these is about the order of nodes, and not about what is wrong."""
    graph = proto.graph
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {sparse.values.name for sparse in graph.sparse_initializer}
    order: TopologicalSorter[int] = TopologicalSorter()
    for index, node in enumerate(graph.node):
        order.add(index, *(producers[name] for name in node.input if name in producers))
        missing = next((name for name in node.input if name and name not in producers and name not in known), None)
        if missing:
            raise TaskError(
                "InvalidModel",
                f"The node {_label(node)} reads {missing!r}, which nothing in the model defines; a weight is missing: "
                "export the model again.",
            )
    try:
        order.prepare()
    except CycleError as error:
        nodes = ", ".join(_label(graph.node[index]) for index in sorted(set(error.args[1]))[:5])
        raise TaskError(
            "InvalidModel", f"The nodes {nodes} wait for one another in a cycle; export the model again."
        ) from error


def _label(node: NodeProto) -> str:
    return f"{node.name or node.op_type!r} ({node.op_type})"


def _refuse_nan(proto: ModelProto, folder: Path) -> None:
    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            if tensor.data_type in _FLOATS and np.isnan(tensor_array(tensor, folder)).any():
                raise TaskError(
                    "InvalidModel",
                    f"The weight {tensor.name!r} contains NaN; the training diverged or the export failed: check "
                    "the model before it is deployed.",
                )


def require_loading(path: Path, threads: int) -> None:
    """Raises:
    TaskError: UnsupportedModel or InvalidModel, where ONNX Runtime does not load the file at ``path``.
    """
    try:
        Session(path, threads)
    except Exception as error:  # ONNX Runtime raises a dozen types, all of them about the model
        text = explain(error)
        missing = any(word in text for word in ("NOT_IMPLEMENTED", "is not a registered function", "No Op registered"))
        raise TaskError(
            "UnsupportedModel" if missing else "InvalidModel",
            f"ONNX Runtime cannot load the model: {text}.",
        ) from error
