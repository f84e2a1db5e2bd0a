"""The libraries that shape a model: a new version of one of them may make another."""

from importlib.metadata import PackageNotFoundError, version

_SHAPING = ("numpy", "onnx", "onnxruntime", "torch", "transformers")


def library_versions() -> dict[str, str]:
    """Name to version of those that are installed."""
    found = {}
    for name in _SHAPING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
