"""edgemodel-compress, as somebody at a desk runs it."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.compression.processes import Run, run


@dataclass(frozen=True)
class Compressed:
    """What the command left in its folder, and what it took."""

    folder: Path
    run: Run

    @property
    def model(self) -> Path:
        """The chosen model."""
        return self.folder / "model.onnx"

    @property
    def result(self) -> dict[str, Any]:
        """What it says it measured, and chose."""
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result

    @property
    def digest(self) -> str:
        """Of the model file."""
        return str(self.result["modelDigest"])


def compress(model: Path, dataset: Path, folder: Path, *options: str) -> Compressed:
    """Compress for the CPU of this machine, and one thread; Auto, unless the options say otherwise.

    Raises:
        ToolError: the command failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    program: list[str | Path] = [sys.executable, "-m", "edgemodel_compressor"]
    command = [*program, model, "--dataset", dataset, "-o", folder, "--target-cpu", "host", *options]
    done = run(command, folder.with_name(f"{folder.name}.log"))
    return Compressed(folder, done)
