"""From untrusted bytes to a checked model: every way in which a file is not one gets its own sentence."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.runtime import Session, explain
from edgemodel_compressor.tensors import apply_hints, read_spec
from edgemodel_contract.task import TensorSpec

_PROTOBUF_LIMIT = 2**31 - 1
_KNOWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Model:
    """A model file that parses, passes the ONNX checker and loads in ONNX Runtime."""

    path: Path
    sha256: str
    size: int
    inputs: tuple[TensorSpec, ...]
    """Open dimensions are -1; all but the first may still be filled in from samples."""
    outputs: tuple[TensorSpec, ...]

    def proto(self) -> ModelProto:
        """The parsed model. Not kept, because it is as large as the file."""
        return onnx.load_model_from_string(self.path.read_bytes())


def load_model(path: Path, sha256: str, hints: tuple[TensorSpec, ...], threads: int) -> Model:
    """Check the file at ``path`` and read its inputs and outputs.

    Raises:
        TaskError: InvalidModel where the file is at fault, UnsupportedModel where this engine is, InvalidTask
            where ``hints`` do not fit.
    """
    size = path.stat().st_size
    _refuse_other_formats(path, size)
    proto = _parse(path)
    _refuse_external_data(proto)
    _refuse_custom_operators(proto)
    _refuse_newer_opset(proto)
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [read_spec(value, "input") for value in proto.graph.input if value.name not in weights]
    outputs = [read_spec(value, "output") for value in proto.graph.output]
    if not inputs:
        raise TaskError("InvalidModel", "The model has no input; export it with its inputs.")
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # the checker raises its own type, and others out of its C++ core
        raise TaskError("InvalidModel", f"The model breaks the rules of ONNX: {first_line(error)}.") from error
    _refuse_nan(proto)
    del proto
    _load_once(path, threads)
    return Model(path, sha256, size, apply_hints(inputs, hints), tuple(outputs))


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
            f"The model has {size} bytes, and a single ONNX file ends at 2 GiB; give a smaller model.",
        )


def _parse(path: Path) -> ModelProto:
    try:
        proto = onnx.load_model_from_string(path.read_bytes())
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


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and, in depth, the bodies of its loops and branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def _tensors(nodes: Iterator[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            if attribute.type == AttributeProto.SPARSE_TENSOR:
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def _all_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    for graph in graphs(proto.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _tensors(iter(graph.node))
    for function in proto.functions:
        yield from _tensors(iter(function.node))


def _refuse_external_data(proto: ModelProto) -> None:
    for tensor in _all_tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL and not tensor.external_data:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        path = PurePosixPath(location.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in location:
            raise TaskError(
                "InvalidModel",
                f"The model reads the weight {tensor.name!r} from {location!r}, outside its own folder; such a "
                "file is refused: export the model again.",
            )
        raise TaskError(
            "UnsupportedModel",
            f"The model keeps the weight {tensor.name!r} in a second file, {location!r}; save it as one file with "
            "onnx.save_model(onnx.load(path), path, save_as_external_data=False).",
        )


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


def _refuse_nan(proto: ModelProto) -> None:
    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            if tensor.data_type in _FLOATS and np.isnan(onnx.numpy_helper.to_array(tensor)).any():
                raise TaskError(
                    "InvalidModel",
                    f"The weight {tensor.name!r} contains NaN; the training diverged or the export failed: check "
                    "the model before it is deployed.",
                )


def _load_once(path: Path, threads: int) -> None:
    try:
        Session(path, threads)
    except Exception as error:  # ONNX Runtime raises a dozen types, all of them about the model
        text = explain(error)
        missing = any(word in text for word in ("NOT_IMPLEMENTED", "is not a registered function", "No Op registered"))
        raise TaskError(
            "UnsupportedModel" if missing else "InvalidModel",
            f"ONNX Runtime cannot load the model: {text}.",
        ) from error
