"""Reading and writing models on the way through quantization, also those too large for one protobuf."""

import hashlib
from pathlib import Path

import onnx

_PROTOBUF_LIMIT = 2**31 - 1
_MARGIN = 2**26
"""Room for the graph that a pass may still add."""


def read_model(path: Path) -> onnx.ModelProto:
    """The model at ``path`` with its external data, whose paths have been checked by then."""
    return onnx.load(path)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether ``model`` no longer fits into a single file."""
    return bool(model.ByteSize() > _PROTOBUF_LIMIT - _MARGIN)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write ``model`` to ``path``; if it is too large for one file, with its weights in ``<path>.data`` beside it."""
    if not is_large(model):
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    beside = path.with_name(path.name + ".data")
    beside.unlink(missing_ok=True)
    onnx.save_model(model, path, save_as_external_data=True, location=beside.name)


def remove(path: Path) -> None:
    """Remove the model at ``path`` and the data that ``write_model`` put beside it."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".data").unlink(missing_ok=True)


def scratch(folder: Path, purpose: str, source: Path) -> Path:
    """A file in ``folder`` for what ``purpose`` makes of ``source``: the same on every run, and no two share one."""
    mark = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    return folder / f"{source.stem}-{mark}-{purpose}.onnx"
