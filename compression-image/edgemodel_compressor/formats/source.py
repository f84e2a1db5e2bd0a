"""From a fetched file or folder of any format to a checked ONNX model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.archive import unpack
from edgemodel_compressor.formats import exported_program, torchscript, transformers
from edgemodel_compressor.formats.detect import detect, needs_unpacking
from edgemodel_compressor.onnxmodel.model import Model, load_model
from edgemodel_contract.task import Format, TensorSpec


def load_source(
    path: Path,
    sha256: str,
    stated: Format | None,
    hints: tuple[TensorSpec, ...],
    shown: Callable[[], Sequence[TensorSpec]],
    threads: int,
    folder: Path,
    limit: int,
) -> Model:
    """Detect, unpack, convert and check the model at ``path``; ``folder`` takes what that needs.

    ``hints`` state shapes that the model leaves open. ``shown`` tells the arrays of the dataset, with an open first
    dimension: formats that say nothing of their inputs take them from there. ``limit`` bounds the bytes of an unpacked
    archive.

    Raises:
        TaskError: InvalidModel where the source is at fault, UnsupportedModel where this engine is, InvalidTask
            where ``hints`` do not fit or are missing, SourceTooLarge.
    """
    if needs_unpacking(path):
        path = unpack(path, folder / "unpacked", "The model", limit, "InvalidModel")
    found = detect(path, stated)
    if found.format == "ONNX":
        return load_model(found.path, sha256, hints, threads, folder)
    try:
        if found.format == "ExportedProgram":
            target, difference = exported_program.convert(found.path, threads, folder, limit)
        elif found.format == "TorchScript":
            target, difference = torchscript.convert(found.path, hints, shown(), threads, folder, limit)
        else:
            target, difference = transformers.convert(found.path, hints, shown(), threads, folder)
    except ImportError as error:
        raise TaskError(
            "UnsupportedModel",
            f"The model is of the format {found.format}, which needs {error.name or 'a library'} and this installation "
            "has it not; pip install 'edgemodel[formats]'.",
        ) from error
    model = load_model(target, sha256, hints, threads, folder)
    return replace(model, source_format=found.format, difference=difference)
