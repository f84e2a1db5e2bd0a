"""``oci://registry/path:tag`` sources: an artifact, or an image manifest, whose blobs are a file or a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.limits import Limits, save
from edgemodel_compressor.registry.client import Descriptor, Registry
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.image import ImageError, choose_platform, descriptor, is_index
from edgemodel_compressor.registry.reference import Reference, parse_reference
from edgemodel_compressor.retry import RetryPolicy, with_retries
from edgemodel_contract.result import FailureReason

_TITLE = "org.opencontainers.image.title"
_DOCUMENTS = ("", ".md", ".txt", ".json", ".yaml", ".yml")
"""Suffixes of what lies beside a model file that is whole without it."""
MAX_ARTIFACT_FILES = 1000
_REASONS: dict[str, FailureReason] = {
    "Unavailable": "SourceUnavailable",
    "Unauthorized": "SourceUnauthorized",
    "NotFound": "SourceNotFound",
    "Invalid": "SourceUnavailable",
}


@dataclass(frozen=True)
class _Part:
    """A blob and the name it was pushed under, which may be empty."""

    title: str
    blob: Descriptor


def fetch_oci(
    registry: Registry,
    uri: str,
    suffixes: tuple[str, ...],
    folders: bool,
    platform: str,
    target: Path,
    limits: Limits,
    retry: RetryPolicy,
    advance: Callable[[int, int | None], None],
) -> None:
    """Download what the artifact at ``uri`` holds to ``target``; of an index, what is for ``platform``.

    Of several blobs it is the one whose title ends with one of ``suffixes``. With ``folders``, and others beside it
    that are no documents (a model's data files), ``target`` becomes a folder of all of them under their titles.

    Raises:
        TaskError: InvalidTask for a URI that is no reference; SourceNotFound, SourceUnauthorized, SourceTooLarge,
            SourceUnavailable.
    """
    try:
        reference = parse_reference(uri.partition("://")[2])
    except ValueError as error:
        raise TaskError("InvalidTask", f"{limits.what} is not found by its URI: {error}.") from error
    try:
        parts = _parts(registry, reference, platform)
        alone = _alone(parts, suffixes, folders)
        wanted = [alone] if alone else parts
        total, done = sum(part.blob.size for part in wanted), 0
        limits.check_size(total)
        places = {target: alone} if alone else _places(target, parts)
        for place, part in places.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            _download(
                registry,
                reference,
                part.blob,
                place,
                replace(limits, size=limits.size - done),
                retry,
                lambda size, before=done: advance(before + size, total),  # type: ignore[misc]
            )
            done += part.blob.size
    except RegistryError as error:
        raise TaskError(_REASONS[error.kind], f"{limits.what} cannot be fetched: {error.message}") from error
    except ImageError as error:
        raise TaskError("SourceNotFound", f"{limits.what} cannot be used: {error}.") from error


def _download(
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    place: Path,
    limits: Limits,
    retry: RetryPolicy,
    advance: Callable[[int], None],
) -> None:
    def attempt() -> None:
        limits.check_time()
        with registry.open_blob(reference.repository, blob) as chunks, place.open("wb") as file:
            save(chunks, file, limits, advance)

    with_retries(attempt, retry)


def _parts(registry: Registry, reference: Reference, platform: str) -> Sequence[_Part]:
    manifest = registry.manifest(reference)
    if is_index(manifest):
        digest = choose_platform(manifest, platform)
        manifest = registry.manifest(Reference(reference.repository, digest))
    layers = manifest.body.get("layers") or manifest.body.get("blobs") or []
    return [_Part(_title(layer), descriptor(layer)) for layer in layers]


def _alone(parts: Sequence[_Part], suffixes: tuple[str, ...], folders: bool) -> _Part | None:
    """The one that is fetched; None where all are, as a folder.

    Raises:
        ImageError: it is neither the one nor the other.
    """
    if len(parts) == 1:
        return parts[0]
    matching = [part for part in parts if part.title.endswith(suffixes)]
    needed = [part for part in parts if part not in matching and PurePosixPath(part.title).suffix not in _DOCUMENTS]
    if len(matching) == 1 and not (folders and needed):
        return matching[0]
    if folders and needed and len(matching) <= 1 and all(part.title for part in parts):
        return None
    names = ", ".join(part.title for part in parts[:10] if part.title) or "no names"
    raise ImageError(
        f"it holds {len(parts)} files ({names}), and one that ends with {' or '.join(suffixes)} is needed; "
        "push the file alone"
    )


def _places(folder: Path, parts: Sequence[_Part]) -> dict[Path, _Part]:
    """Where each is written, below ``folder``."""
    if len(parts) > MAX_ARTIFACT_FILES:
        raise ImageError(f"it holds {len(parts)} files, more than {MAX_ARTIFACT_FILES}; push an archive instead")
    places: dict[Path, _Part] = {}
    for part in parts:
        inside = PurePosixPath(part.title)
        place = folder / inside
        if inside.is_absolute() or {"..", "."} & set(part.title.split("/")) or "\0" in part.title:
            raise ImageError(f"one of its files is to lie outside of its folder ({part.title!r}); push it anew")
        if place in places or any(place in other.parents or other in place.parents for other in places):
            raise ImageError(f"two of its files are called {part.title!r}; push it anew")
        places[place] = part
    return places


def _title(layer: Any) -> str:
    return str((layer.get("annotations") or {}).get(_TITLE, ""))
