"""The libraries that shape a model: a new version of one of them may make another."""

from collections.abc import Mapping
from importlib.metadata import version

from edgemodel_contract.task import Format

_ENGINE = ("numpy", "onnx", "onnxruntime", "torch")
_EXPORTERS: Mapping[Format, tuple[str, ...]] = {
    "ONNX": (),
    "ExportedProgram": ("onnxscript",),
    "TorchScript": (),
    "Transformers": ("onnxscript", "transformers"),
}
"""What had a hand in the model before it was ONNX."""


def library_versions(source_format: Format) -> dict[str, str]:
    """Name to version."""
    return {name: version(name) for name in (*_ENGINE, *_EXPORTERS[source_format])}
