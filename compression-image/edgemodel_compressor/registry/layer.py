"""One image layer with the model's folder, the same bytes for the same files on every run."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edgemodel_contract.card import MODEL_DIR

_LEVEL = 6
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """A gzipped tar at ``path``: ``digest`` is of the gzip, ``diff_id`` of the tar inside."""

    path: Path
    digest: str
    diff_id: str
    size: int


class _Tee:
    """Takes the tar's bytes: digests them and passes them on to the gzip."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._target.write(data)


def build_layer(files: Mapping[str, Path | bytes], target: Path) -> Layer:
    """Write ``files`` (name in the model's folder → content) as a layer to ``target``.

    No time, no owner, one order: nothing of the machine or the moment is left in it.
    """
    folder = PurePosixPath(MODEL_DIR.lstrip("/"))
    with (
        target.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=_LEVEL) as zipped,
    ):
        tee = _Tee(zipped)  # type: ignore[arg-type]
        with tarfile.open(fileobj=tee, mode="w|", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
            for parent in [*reversed(folder.parents), folder]:
                if parent.name:
                    entry = tarfile.TarInfo(str(parent))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            for name in sorted(files):
                _add_file(tar, str(folder / name), files[name])
    digest = hashlib.sha256()
    with target.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return Layer(target, f"sha256:{digest.hexdigest()}", f"sha256:{tee.digest.hexdigest()}", target.stat().st_size)


def compressed_size(model: Path) -> int:
    """Bytes that ``model`` takes as gzip in a layer, measured without keeping it."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    size = 0
    with model.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _add_file(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    if isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, BytesIO(content))
        return
    entry.size = content.stat().st_size
    with content.open("rb") as stream:
        tar.addfile(entry, stream)
