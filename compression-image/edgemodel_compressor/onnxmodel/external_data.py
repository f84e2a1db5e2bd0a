"""External data of an untrusted model: files in the model's own folder, long enough for what is read from them."""

from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.onnxmodel.modelfile import tensor_bytes
from edgemodel_compressor.onnxmodel.walk import all_tensors, is_external

_ALONE = "give the folder, archive (tar, tar.gz, zip) or artifact that holds the model and its data files"


def has_external_data(proto: ModelProto) -> bool:
    """Whether any tensor lies in another file."""
    return any(is_external(tensor) for tensor in all_tensors(proto))


def check_external_data(proto: ModelProto, folder: Path) -> None:
    """Every tensor that lies in another file lies in a regular one below ``folder``, and whole.

    Raises:
        TaskError: InvalidModel with the tensor and the file; UnsupportedModel for data outside the main graph.
    """
    for tensor in all_tensors(proto):
        if is_external(tensor):
            _check(tensor, folder)
    inside = sum(is_external(tensor) for tensor in all_tensors(proto))
    if inside != sum(is_external(tensor) for tensor in proto.graph.initializer):
        raise TaskError(
            "UnsupportedModel",
            "The model keeps weights of a branch, a loop or a constant in a second file; save those inside the model "
            "file.",
        )


def _check(tensor: TensorProto, folder: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _confined(tensor.name, location, folder)
    offset, length = (_number(tensor.name, key, entries.get(key, "")) for key in ("offset", "length"))
    if min(tensor.dims, default=0) < 0 or tensor.data_type not in TensorProto.DataType.values():
        raise TaskError(
            "InvalidModel", f"The weight {tensor.name!r} has no valid shape and type; export the model again."
        )
    wanted, available = tensor_bytes(tensor), file.stat().st_size - (offset or 0)
    if length is not None and length != wanted:
        raise TaskError(
            "InvalidModel",
            f"The weight {tensor.name!r} needs {wanted} bytes but names {length} of them in {location!r}; export the "
            "model again.",
        )
    if available < wanted:
        raise TaskError(
            "InvalidModel",
            f"The data file {location!r} ends before the weight {tensor.name!r} does ({max(available, 0)} bytes are "
            f"there, {wanted} are needed); it was cut short: upload it again.",
        )


def _confined(name: str, location: str, folder: Path) -> Path:
    path = PurePosixPath(location.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in location or "\0" in location:
        raise TaskError(
            "InvalidModel",
            f"The model reads the weight {name!r} from {location!r}, outside its own folder; such a file is refused: "
            "export the model again.",
        )
    file = folder
    for part in path.parts:
        file = file / part
        if file.is_symlink():
            raise TaskError(
                "InvalidModel",
                f"The model reads the weight {name!r} from {location!r}, which is a link; put the file itself there.",
            )
    if not path.parts or "\\" in location or not file.is_file():
        raise TaskError(
            "InvalidModel", f"The model keeps the weight {name!r} in {location!r}, which is not there; {_ALONE}."
        )
    return file


def _number(name: str, key: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise TaskError(
            "InvalidModel", f"The {key} of the weight {name!r} in its data file is {text!r}; export the model again."
        )
    return int(text)
