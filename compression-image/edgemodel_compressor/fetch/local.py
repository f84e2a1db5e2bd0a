"""Files at hand: ``pvc://claim/path`` within its mounted claim, and on the command line a path."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgemodel_compressor.errors import TaskError, first_line, is_exhausted
from edgemodel_compressor.fetch.limits import Limits, save

_CHUNK = 1 << 20
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def claim_path(uri: str, claims: Path) -> Path:
    """The file that ``pvc://claim/path`` names, links followed, and never outside its claim.

    Raises:
        TaskError: InvalidTask for a URI that leads outside, SourceNotFound where there is no such file.
    """
    claim, _, inside = uri.partition("://")[2].partition("/")
    if not _CLAIM.fullmatch(claim) or not inside or ".." in Path(inside).parts or inside.startswith("/"):
        raise TaskError(
            "InvalidTask", f"{uri!r} names no file in a claim; write it like pvc://claim/folder/model.onnx."
        )
    root = (claims / claim).resolve()
    try:
        path = (root / inside).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise TaskError(
            "SourceNotFound", f"The claim {claim!r} has no file {inside!r}; check the path and what the claim holds."
        ) from error
    if not path.is_relative_to(root):
        raise TaskError("InvalidTask", f"{uri!r} is a link that leads out of its claim; copy the file into the claim.")
    return path


def copy_file(source: Path, target: Path, limits: Limits, advance: Callable[[int, int | None], None]) -> None:
    """Copy ``source`` to ``target``, so that what is checked is what is used.

    Raises:
        TaskError: SourceNotFound, SourceTooLarge, SourceUnavailable.
    """
    if not source.is_file():
        raise TaskError("SourceNotFound", f"{limits.what} does not exist or is no file; check the path.")
    total = source.stat().st_size
    limits.check_size(total)
    try:
        with target.open("wb") as file:
            save(_chunks(source), file, limits, lambda size: advance(size, total))
    except OSError as error:
        if is_exhausted(error):
            raise
        raise TaskError("SourceUnavailable", f"{limits.what} cannot be read: {first_line(error)}.") from error


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
