"""``oci://registry/path:tag`` sources: an artifact, or an image manifest, one blob of which is the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.limits import Limits, save
from edgemodel_compressor.image import ImageError, choose_platform, descriptor, is_index
from edgemodel_compressor.registry.client import Descriptor, Registry
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.reference import Reference, parse_reference
from edgemodel_compressor.retry import RetryPolicy, with_retries
from edgemodel_contract.result import FailureReason

_TITLE = "org.opencontainers.image.title"
_REASONS: dict[str, FailureReason] = {
    "Unavailable": "SourceUnavailable",
    "Unauthorized": "SourceUnauthorized",
    "NotFound": "SourceNotFound",
    "Invalid": "SourceUnavailable",
}


def fetch_oci(
    registry: Registry,
    uri: str,
    suffixes: tuple[str, ...],
    platform: str,
    target: Path,
    limits: Limits,
    retry: RetryPolicy,
    advance: Callable[[int, int | None], None],
) -> None:
    """Download the file of the artifact at ``uri`` to ``target``.

    Of several blobs it is the one whose title ends with one of ``suffixes``; of an index, that for ``platform``.

    Raises:
        TaskError: InvalidTask for a URI that is no reference; SourceNotFound, SourceUnauthorized, SourceTooLarge,
            SourceUnavailable.
    """
    try:
        reference = parse_reference(uri.partition("://")[2])
    except ValueError as error:
        raise TaskError("InvalidTask", f"{limits.what} is not found by its URI: {error}.") from error
    try:
        blob = _find_blob(registry, reference, suffixes, platform)
        limits.check_size(blob.size)

        def attempt() -> None:
            limits.check_time()
            with registry.open_blob(reference.repository, blob) as chunks, target.open("wb") as file:
                save(chunks, file, limits, lambda size: advance(size, blob.size))

        with_retries(attempt, retry)
    except RegistryError as error:
        raise TaskError(_REASONS[error.kind], f"{limits.what} cannot be fetched: {error.message}") from error
    except ImageError as error:
        raise TaskError("SourceNotFound", f"{limits.what} cannot be used: {error}.") from error


def _find_blob(registry: Registry, reference: Reference, suffixes: tuple[str, ...], platform: str) -> Descriptor:
    manifest = registry.manifest(reference)
    if is_index(manifest):
        digest = choose_platform(manifest, platform)
        manifest = registry.manifest(Reference(reference.repository, digest))
    layers = manifest.body.get("layers") or manifest.body.get("blobs") or []
    titled = [layer for layer in layers if _title(layer).endswith(suffixes)]
    found = titled if titled else layers
    if len(found) != 1:
        names = ", ".join(filter(None, map(_title, layers))) or "no names"
        raise ImageError(
            f"it holds {len(layers)} files ({names}), and one that ends with {' or '.join(suffixes)} is needed; "
            "push the file alone"
        )
    return descriptor(found[0])


def _title(layer: Any) -> str:
    return str((layer.get("annotations") or {}).get(_TITLE, ""))
