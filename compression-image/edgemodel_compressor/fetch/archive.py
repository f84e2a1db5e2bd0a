"""Unpacking archives nobody vouches for: plain files below one folder, bounded in number, bytes and ratio.

tar, tar.gz and zip. Whatever is not a file or a folder (links, devices), leads out of the folder or comes twice is
refused, not skipped: an archive that holds such a thing is not one that somebody made of a model. What headers claim
is checked first, and what really comes out is counted as well.
"""

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from edgemodel_compressor.errors import TaskError, first_line, is_exhausted
from edgemodel_contract.result import FailureReason

MAX_MEMBERS = 100_000
MAX_RATIO = 200
"""Unpacked to packed bytes, once RATIO_FREE are exceeded: data of models and images compresses ten times at best."""
RATIO_FREE = 64 * 2**20
_HEADER_LIMIT = 2**20
"""A tar header that takes more in one piece (a file name of megabytes) is an attack."""
_CHUNK = 1 << 20
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)


def is_archive(path: Path) -> bool:
    """Whether the file at ``path`` starts as a zip, a gzip or a tar does."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08")) or head[257:262] == b"ustar"


def zip_names(path: Path) -> list[str] | None:
    """The names in the zip at ``path``, at most MAX_MEMBERS of them; None where it is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()[:MAX_MEMBERS]
    except _DAMAGED:
        return None


def unpack(archive: Path, folder: Path, what: str, limit: int, reason: FailureReason) -> Path:
    """Unpack ``archive`` into the new ``folder`` and return it, or the only folder in it if that is all there is.

    ``what`` begins sentences (``The model``), ``limit`` bounds the unpacked bytes.

    Raises:
        TaskError: ``reason`` for an archive that is damaged or holds what it must not, SourceTooLarge.
    """
    folder.mkdir()
    sink = _Sink(folder, what, limit, archive.stat().st_size, reason)
    try:
        with archive.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            if head.startswith(b"PK"):
                _unpack_zip(file, sink)
            elif head.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as plain:
                    _unpack_tar(plain, sink)
            else:
                _unpack_tar(file, sink)
    except _DAMAGED as error:
        if is_exhausted(error):
            raise
        raise sink.refuse(
            f"is an archive that is damaged or cut short ({first_line(error, 120)}); pack it again"
        ) from (error)
    entries = list(folder.iterdir())
    if not entries:
        raise sink.refuse("is an archive without any file; pack it again")
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


@dataclass
class _Sink:
    """Where members go, and what they may take."""

    folder: Path
    what: str
    limit: int
    packed: int
    reason: FailureReason
    members: int = 0
    size: int = 0
    made: set[PurePosixPath] = field(default_factory=set)

    def refuse(self, words: str) -> TaskError:
        return TaskError(self.reason, f"{self.what} {words}.")

    def count(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise self.refuse(f"is an archive of more than {MAX_MEMBERS} files; pack fewer")

    def grow(self, size: int) -> None:
        """Take note of ``size`` bytes more than so far."""
        self.size += size
        if self.size > self.limit:
            raise TaskError(
                "SourceTooLarge",
                f"{self.what} takes more than the {self.limit} bytes allowed once unpacked; give a smaller archive.",
            )
        if self.size > RATIO_FREE and self.size > MAX_RATIO * self.packed:
            raise self.refuse(
                f"is an archive that unpacks to more than {MAX_RATIO} times its size; such a file is refused"
            )

    def place(self, name: str, is_folder: bool) -> Path:
        """The path for the member ``name``, its folders made."""
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name:
            raise self.refuse(f"is an archive with the member {name[:100]!r}, which leads out of it; it is refused")
        if is_folder:
            (self.folder / path).mkdir(parents=True, exist_ok=True)
            return self.folder / path
        if path in self.made:
            raise self.refuse(f"is an archive that holds {name[:100]!r} twice; pack it again")
        self.made.add(path)
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def save(self, name: str, source: IO[bytes], size: int) -> None:
        """Write the member; ``size`` is what its header says."""
        with self.place(name, False).open("xb") as file:
            while chunk := source.read(_CHUNK):
                self.grow(len(chunk))
                size -= len(chunk)
                file.write(chunk)
        if size:
            raise self.refuse(f"is an archive whose member {name[:100]!r} is cut short; pack it again")


def _unpack_zip(file: BinaryIO, sink: _Sink) -> None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            sink.count()
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise sink.refuse(f"is an archive with the link or device {entry.filename[:100]!r}; pack plain files")
            if entry.flag_bits & 1:
                raise sink.refuse("is an archive with a password; pack it without")
            if entry.is_dir():
                sink.place(entry.filename, True)
                continue
            with archive.open(entry) as source:
                sink.save(entry.filename, source, entry.file_size)


class _Stream(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...
    def seek(self, position: int, whence: int = ..., /) -> int: ...
    def tell(self) -> int: ...


class _Headers:
    """A tar's bytes, which ``tarfile`` may not take in pieces so large that they fill the memory."""

    def __init__(self, file: _Stream, sink: _Sink) -> None:
        self._file = file
        self._sink = sink

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(_HEADER_LIMIT, _CHUNK):
            raise self._sink.refuse("is an archive with a header of more than a megabyte; such a file is refused")
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()


def _unpack_tar(file: _Stream, sink: _Sink) -> None:
    with tarfile.open(fileobj=_Headers(file, sink), mode="r:") as archive:  # type: ignore[call-overload]
        for entry in _members(archive):
            sink.count()
            if entry.isdir():
                sink.place(entry.name, True)
                continue
            source = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
            if source is None:
                raise sink.refuse(f"is an archive with the link or device {entry.name[:100]!r}; pack plain files")
            sink.save(entry.name, source, entry.size)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := archive.next()) is not None:
        yield entry
        # ``tarfile`` keeps every header it has seen.
        archive.members = []  # type: ignore[attr-defined]
