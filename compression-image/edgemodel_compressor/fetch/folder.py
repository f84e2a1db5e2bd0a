"""Folders as sources: plain files copied one by one, and one digest over all of them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.limits import Limits
from edgemodel_compressor.fetch.local import copy_file

MAX_FOLDER_FILES = 100_000


def copy_folder(source: Path, target: Path, limits: Limits, advance: Callable[[int, int | None], None]) -> None:
    """Copy all files below ``source`` to the new folder ``target``.

    Hidden files and folders (``.git``, ``.cache``) are left out.

    Raises:
        TaskError: InvalidTask for a link or a device, SourceTooLarge, SourceUnavailable.
    """
    files = list(_files(source, limits.what))
    total = sum(path.stat().st_size for path in files)
    limits.check_size(total)
    target.mkdir()
    done = 0
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        left = replace(limits, size=limits.size - done)
        copy_file(path, place, left, lambda size, _, before=done: advance(before + size, total))  # type: ignore[misc]
        done += place.stat().st_size


def folder_digest(folder: Path) -> str:
    """SHA-256, 64 hex digits, over ``<digest of the file>  <path>`` of each file, a line each, ordered by path.

    What ``find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`` prints.
    """
    lines = hashlib.sha256()
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(paths, key=lambda text: text.encode("utf-8", "surrogateescape")):
        with paths[name].open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.update(f"{digest}  {name}\n".encode("utf-8", "surrogateescape"))
    return lines.hexdigest()


def _files(folder: Path, what: str) -> Iterator[Path]:
    found = 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise TaskError(
                "InvalidTask",
                f"{what} holds the link or device {str(inside)!r}; give plain files, as cp -rL copies them.",
            )
        if path.is_file():
            found += 1
            if found > MAX_FOLDER_FILES:
                raise TaskError("SourceTooLarge", f"{what} holds more than {MAX_FOLDER_FILES} files; give fewer.")
            yield path
    if not found:
        raise TaskError("SourceNotFound", f"{what} is a folder without any file; check the path.")
