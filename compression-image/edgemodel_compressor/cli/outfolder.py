"""The command line's result folder: written whole or not at all."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgemodel_compressor.errors import TaskError
from edgemodel_contract.card import CARD_FILE, MODEL_FILE, REPORT_FILE, REPORT_PAGE
from edgemodel_contract.encoding import encode
from edgemodel_contract.result import Result

RESULT_FILE = "result.json"
_DATA_SUFFIX = ".onnx.data"
_OURS = {MODEL_FILE, CARD_FILE, REPORT_FILE, REPORT_PAGE, RESULT_FILE}


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than an earlier result.

    Raises:
        TaskError: InvalidTask.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise TaskError("InvalidTask", f"{out} exists and is not a folder; name another with --out.")
    if out.is_dir():
        names = (entry.name for entry in out.iterdir())
        strange = sorted(name for name in names if name not in _OURS and not name.endswith(_DATA_SUFFIX))
        if strange:
            raise TaskError(
                "InvalidTask", f"{out} holds other files ({strange[0]}); name an empty or new folder with --out."
            )


def write_out(out: Path, files: Mapping[str, Path | bytes], result: Result | None) -> None:
    """Write ``files`` and the Result, if there is one, to ``out``, in place of an earlier result.

    Everything is written beside ``out`` first and then moved there at once, so that a reader finds the old result or
    the new one, and an interruption leaves nothing half done.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as name:
        fresh, old = Path(name) / "new", Path(name) / "old"
        fresh.mkdir()
        for file, content in files.items():
            if isinstance(content, bytes):
                (fresh / file).write_bytes(content)
            else:
                shutil.copyfile(content, fresh / file)
        if result is not None:
            (fresh / RESULT_FILE).write_bytes(msgspec.json.format(encode(result), indent=2) + b"\n")
        try:
            if out.exists():
                out.rename(old)
            fresh.rename(out)
        finally:
            if old.exists() and not out.exists():
                old.rename(out)
