"""``npz`` and ``npy`` files, never unpickled."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from edgemodel_compressor.data.files import SINGLE, invalid, too_large
from edgemodel_compressor.errors import first_line
from edgemodel_compressor.onnxmodel.runtime import Array

MAGIC = b"\x93NUMPY"
_DAMAGED = (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, MemoryError, NotImplementedError)


def read_arrays(path: Path, limit: int) -> dict[str, Array]:
    """The arrays of the file, the one of an ``npy`` as ``x``.

    Raises:
        TaskError: InvalidDataset, SourceTooLarge.
    """
    try:
        if _is_zip(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > limit:
                raise too_large(unpacked, limit)
            with np.load(path, allow_pickle=False) as archive:
                return {name: np.asarray(archive[name]) for name in archive.files}
        return {SINGLE: np.asarray(np.load(path, allow_pickle=False))}
    except _DAMAGED as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise invalid(
                "it holds Python objects, which are never unpickled; save plain numeric arrays with numpy.savez"
            ) from error
        raise invalid(f"it is damaged or cut short ({first_line(error, 120)}); write it again") from error


def read_headers(path: Path) -> Iterator[tuple[str, tuple[int, ...], np.dtype[np.generic]]]:
    """Name, shape and dtype of each array, without its values; nothing of a damaged file."""
    try:
        if not _is_zip(path):
            with path.open("rb") as file:
                yield SINGLE, *_header(file)
            return
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                with archive.open(entry) as file:
                    yield entry.removesuffix(".npy"), *_header(file)
    except _DAMAGED:
        return


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype
