"""Where the models on the way through quantization lie."""

import hashlib
from pathlib import Path


def remove(path: Path) -> None:
    """Remove the model at ``path`` and the data that ``write_model`` put beside it."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".data").unlink(missing_ok=True)


def scratch(folder: Path, purpose: str, source: Path) -> Path:
    """A file in ``folder`` for what ``purpose`` makes of ``source``: the same on every run, and no two share one."""
    mark = hashlib.sha256(str(source).encode()).hexdigest()[:8]
    return folder / f"{source.stem}-{mark}-{purpose}.onnx"
