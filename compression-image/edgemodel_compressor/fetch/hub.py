"""``hf://org/name[@revision][/path]`` and ``hf://datasets/org/name[@revision]/path``: files of the Hugging Face hub.

Two requests are all of the hub's protocol that is needed, so they go through the same bounded, resumable transport as
every other download: which files a revision has, and each file at the commit that it stood for. The hub's own client
would read answers and files of any size, and is switched off in this process for what transformers might look up.

Files come by an allow-list: no pickle, no Python, nothing that nobody needs.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

import httpx
import msgspec

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.http import fetch_http
from edgemodel_compressor.fetch.limits import Limits
from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.retry import RetryPolicy

MAX_LISTING = 16 * 2**20
"""Bytes of the answer that lists a revision's files."""
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?"
_URI = re.compile(
    rf"hf://(?P<datasets>datasets/)?(?P<repository>{_NAME}/{_NAME})"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[A-Za-z0-9._-]+|[A-Za-z0-9][A-Za-z0-9._-]*))?(?:/(?P<path>[^?#\\\s]+))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRANSFORMERS = re.compile(
    r"[^/\x00-\x1f]+\.safetensors|[^/\x00-\x1f]+\.safetensors\.index\.json|(?:config|generation_config|preprocessor_config"
    r"|processor_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|vocab\.txt|merges\.txt"
)
"""What a folder of ``save_pretrained`` has of a model."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "model": (".onnx", ".pt2"),
    "dataset": (".npz", ".npy", ".parquet", ".tar", ".tar.gz", ".tgz", ".zip"),
}
_SHOWN = 5

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubUri:
    """A repository at a revision, and what of it."""

    area: Literal["models", "datasets"]
    repository: str
    revision: str
    path: str
    """Of a file; empty for what the repository is about."""


class _Lfs(msgspec.Struct, frozen=True):
    sha256: str


class _File(msgspec.Struct, frozen=True):
    rfilename: str
    size: int | None = None
    lfs: _Lfs | None = None


class _Listing(msgspec.Struct, frozen=True):
    sha: str
    siblings: list[_File]


@dataclass(frozen=True)
class Hub:
    """The hub, or a mirror of it, at ``endpoint``. ``headers`` are those of a login; they go to no other host."""

    client: httpx.Client
    endpoint: str
    headers: Mapping[str, str]
    retry: RetryPolicy

    def fetch(
        self, uri: str, kind: Kind, target: Path, limits: Limits, advance: Callable[[int, int | None], None]
    ) -> None:
        """Bring the files to ``target``: one file, or a folder of several.

        Raises:
            TaskError: InvalidTask, ChecksumMismatch, or one of the Source… reasons.
        """
        wanted = parse(uri)
        listing = self._list(wanted, target, limits)
        files = choose(listing.siblings, kind, wanted, limits.what)
        total = sum(file.size or 0 for file in files)
        limits.check_size(total)
        if len(files) > 1:
            target.mkdir()
        root = PurePosixPath(files[0].rfilename).parent
        done = 0
        for file in files:
            place = target / PurePosixPath(file.rfilename).relative_to(root) if len(files) > 1 else target
            left = replace(limits, size=limits.size - done)
            self._download(
                wanted,
                listing.sha,
                file,
                place,
                left,
                lambda size, _, before=done: advance(before + size, total or None),  # type: ignore[misc]
            )
            done += place.stat().st_size

    def _list(self, wanted: HubUri, target: Path, limits: Limits) -> _Listing:
        place = target.with_name(f"{target.name}.listing")
        revision = quote(wanted.revision, safe="")
        url = f"{self.endpoint}/api/{wanted.area}/{wanted.repository}/revision/{revision}?blobs=true"
        try:
            short = Limits(
                f"The list of files of {limits.what[0].lower()}{limits.what[1:]}", MAX_LISTING, limits.deadline
            )
            fetch_http(self.client, url, self.headers, place, short, self.retry, lambda *_: None)
            listing = msgspec.json.decode(place.read_bytes(), type=_Listing)
        except msgspec.DecodeError as error:
            raise TaskError(
                "SourceUnavailable", f"{limits.what}: {self.endpoint} does not answer as a hub does ({error})."
            ) from error
        except TaskError as error:
            if error.reason not in ("SourceUnauthorized", "SourceNotFound"):
                raise
            raise TaskError(
                error.reason,
                f"{limits.what} does not exist at revision {wanted.revision!r}, or is private or gated: check the "
                "name; for a private one give a Secret with a token, for a gated one accept its terms on the hub, too.",
            ) from error
        finally:
            place.unlink(missing_ok=True)
        if not _COMMIT.fullmatch(listing.sha):
            raise TaskError("SourceUnavailable", f"{limits.what}: {self.endpoint} names no commit for its revision.")
        return listing

    def _download(
        self,
        wanted: HubUri,
        commit: str,
        file: _File,
        place: Path,
        limits: Limits,
        advance: Callable[[int, int | None], None],
    ) -> None:
        area = "datasets/" if wanted.area == "datasets" else ""
        url = f"{self.endpoint}/{area}{wanted.repository}/resolve/{commit}/{quote(file.rfilename)}"
        fetch_http(self.client, url, self.headers, place, limits, self.retry, advance)
        if file.lfs is None:
            return
        with place.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.lfs.sha256:
            raise TaskError(
                "ChecksumMismatch",
                f"{limits.what}: {file.rfilename} is not the file that the hub's list names; try again.",
            )


def parse(uri: str) -> HubUri:
    """Read a URI.

    Raises:
        TaskError: InvalidTask where it names no repository, or a path that leads out of it.
    """
    match = _URI.fullmatch(uri)
    path = (match["path"] or "") if match else ""
    if match is None or any(part in ("", ".", "..") for part in path.split("/") if path):
        raise TaskError(
            "InvalidTask",
            f"{public_uri(uri)!r} names no files of the hub; write it like hf://org/name@revision, "
            "hf://org/name/onnx/model.onnx or hf://datasets/org/name/data.parquet.",
        )
    area: Literal["models", "datasets"] = "datasets" if match["datasets"] else "models"
    return HubUri(area, match["repository"], match["revision"] or "main", path)


def choose(files: Sequence[_File], kind: Kind, wanted: HubUri, what: str) -> list[_File]:
    """The files to fetch, all in one folder of the repository, by the allow-list.

    Raises:
        TaskError: SourceNotFound, InvalidTask where several could be meant, UnsupportedModel where all are pickles.
    """
    known = {file.rfilename: file for file in files}
    if wanted.path:
        if wanted.path not in known:
            raise TaskError("SourceNotFound", f"{what}: the repository has no file {wanted.path!r}; check the path.")
        if not wanted.path.endswith(_SUFFIXES[kind]):
            raise TaskError(
                "InvalidTask",
                f"{what}: of the hub only files that end with {', '.join(_SUFFIXES[kind])} are taken as a {kind}, not "
                f"{wanted.path!r}.",
            )
        return _with_data(wanted.path, known)
    if kind == "model":
        found = [file for name, file in sorted(known.items()) if _TRANSFORMERS.fullmatch(name)]
        if "config.json" in known and any(file.rfilename.endswith(".safetensors") for file in found):
            return found
    single = sorted(name for name in known if name.endswith(_SUFFIXES[kind]))
    if len(single) == 1:
        return _with_data(single[0], known)
    if single:
        names = ", ".join(single[:_SHOWN]) + (" …" if len(single) > _SHOWN else "")
        raise TaskError("InvalidTask", f"{what}: the repository has several files to choose from ({names}); name one.")
    if kind == "model" and any(name.endswith(_PICKLES) for name in known):
        raise TaskError(
            "UnsupportedModel",
            f"{what}: its weights are in a format that may carry code, which is never read; use a repository or a "
            "revision with safetensors or ONNX.",
        )
    raise TaskError("SourceNotFound", f"{what}: the repository has no file that can be taken as a {kind}.")


def _with_data(name: str, known: Mapping[str, _File]) -> list[_File]:
    """A file, and where it is an ONNX model the data files beside it that bear its name, as exporters write them."""
    beside = re.compile(rf"{re.escape(name)}[._]data(?:_\d+)?")
    data = sorted(other for other in known if name.endswith(".onnx") and beside.fullmatch(other))
    return [known[name], *(known[other] for other in data)]
