"""Model files on disk: one ``.onnx``, and above SINGLE_FILE_LIMIT its weights in one ``.onnx.data`` beside it.

Protobuf ends at 2 GiB, and whatever reads a single file holds it twice for a moment: as bytes and as a parsed model.
Weights in a second file are neither parsed nor copied: ONNX Runtime and ``tensor_array`` map them into memory, and
``write_model`` writes them one at a time. So a model is never held twice as long as it is above the limit, and below
it twice is little.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_compressor.onnxmodel.walk import all_tensors, is_external

SINGLE_FILE_LIMIT = 2**30
"""Bytes of weights up to which a model is kept in one file."""
_INLINE = 1024
"""Bytes up to which a tensor stays in the model file: shapes and axes, which tools want to read there."""
_ALIGNMENT = 4096
_DATA_DIGEST = "edgemodel.data.sha256"
_HALF_BYTES = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}


def data_file(path: Path) -> Path:
    """Where the weights of the model file at ``path`` lie, if they lie beside it."""
    return path.with_name(f"{path.name}.data")


def model_files(path: Path) -> tuple[Path, ...]:
    """The model file at ``path`` and, if it has one, its data file."""
    data = data_file(path)
    return (path, data) if data.exists() else (path,)


def model_digest(path: Path) -> str:
    """``sha256:…`` of the model file; where the weights lie in a second file, that is vouched for by the first."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def model_size(path: Path) -> int:
    """Bytes of all files of the model."""
    return sum(file.stat().st_size for file in model_files(path))


def read_model(path: Path, *, weights: bool = True) -> ModelProto:
    """The model at ``path``, with its weights in memory; or, without ``weights``, those of a data file left there.

    Raises:
        google.protobuf.message.DecodeError: the file is not a model.
    """
    proto = onnx.load_model_from_string(path.read_bytes())
    if weights and any(is_external(tensor) for tensor in all_tensors(proto)):
        onnx.load_external_data_for_model(proto, str(path.parent))
    return proto


def write_model(proto: ModelProto, path: Path, folder: Path | None = None) -> None:
    """Write ``proto`` to ``path``: the same bytes for the same model, in two files where SINGLE_FILE_LIMIT asks for it.

    Tensors that lie in other files are taken from ``folder``. ``proto`` stays as it is, and is not copied.
    """
    data = data_file(path)
    data.unlink(missing_ok=True)
    large = is_large(proto)
    if not large and not any(is_external(tensor) for tensor in proto.graph.initializer):
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return
    written = ModelProto()
    _copy(proto, written, but="graph")
    _copy(proto.graph, written.graph, but="initializer")
    for tensor in proto.graph.initializer:
        if not large or tensor_bytes(tensor) <= _INLINE:
            _take_in(tensor, written.graph.initializer.add(), folder)
    if large:
        _write_data(proto, written, data, folder)
    path.write_bytes(written.SerializeToString(deterministic=True))


def tensor_array(tensor: TensorProto, folder: Path | None) -> Array:
    """The values of ``tensor``; where they lie in a file in ``folder``, mapped and not read."""
    if not is_external(tensor) or folder is None:
        return numpy_helper.to_array(tensor)
    if tensor.data_type in _HALF_BYTES:
        return numpy_helper.to_array(tensor, str(folder))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset = int(entries.get("offset") or 0)
    return np.memmap(folder / entries["location"], dtype, "r", offset, shape)


def tensor_bytes(tensor: TensorProto) -> int:
    """Bytes that the values of ``tensor`` take, told from its shape and type."""
    elements: int = math.prod(tensor.dims)
    if tensor.data_type in _HALF_BYTES:
        return (elements + 1) // 2
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 0
    return elements * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def is_large(proto: ModelProto) -> bool:
    """Whether ``write_model`` puts the weights of ``proto`` into a second file."""
    return weight_bytes(proto) > SINGLE_FILE_LIMIT


def weight_bytes(proto: ModelProto) -> int:
    """Bytes of all tensors of ``proto``, wherever they lie."""
    return sum(tensor_bytes(tensor) for tensor in all_tensors(proto))


def _write_data(proto: ModelProto, written: ModelProto, data: Path, folder: Path | None) -> None:
    digest = hashlib.sha256()
    position = 0
    with data.open("wb") as file:
        for tensor in proto.graph.initializer:
            if tensor_bytes(tensor) <= _INLINE:
                continue
            values = _raw(tensor, folder)
            for piece in (bytes(-position % _ALIGNMENT), values):
                digest.update(piece)
                position += file.write(piece)
            entry = written.graph.initializer.add(
                name=tensor.name,
                data_type=tensor.data_type,
                dims=tensor.dims,
                doc_string=tensor.doc_string,
                data_location=TensorProto.EXTERNAL,
            )
            entry.external_data.add(key="location", value=data.name)
            entry.external_data.add(key="offset", value=str(position - len(values)))
            entry.external_data.add(key="length", value=str(len(values)))
    # The digest of the model file then vouches for the data file too.
    kept = [item for item in written.metadata_props if item.key != _DATA_DIGEST]
    del written.metadata_props[:]
    written.metadata_props.extend(kept)
    written.metadata_props.add(key=_DATA_DIGEST, value=digest.hexdigest())


def _raw(tensor: TensorProto, folder: Path | None) -> bytes | memoryview:
    """The values as raw_data has them: little-endian, packed."""
    if not is_external(tensor):
        if tensor.HasField("raw_data"):
            return tensor.raw_data
        return numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
    if tensor.data_type in _HALF_BYTES:
        return numpy_helper.from_array(tensor_array(tensor, folder)).raw_data
    return np.ascontiguousarray(tensor_array(tensor, folder)).reshape(-1).view(np.uint8).data


def _take_in(tensor: TensorProto, target: TensorProto, folder: Path | None) -> None:
    if not is_external(tensor):
        target.CopyFrom(tensor)
        return
    target.name, target.data_type, target.doc_string = tensor.name, tensor.data_type, tensor.doc_string
    target.dims.extend(tensor.dims)
    target.raw_data = bytes(_raw(tensor, folder))


def _copy(source: ModelProto | GraphProto, target: ModelProto | GraphProto, but: str) -> None:
    """Copy all fields of ``source`` except one."""
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        elif field.message_type is not None:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)
