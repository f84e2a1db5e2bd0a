"""The result in the registry: the model layer on the base image, and beside it the measured Result.

The image is the same for the same input on every run. Latencies are not, so the Result is an artifact of its own,
under the image's tag with ``.result`` behind it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgemodel_compressor.errors import TaskError, limits_explained
from edgemodel_compressor.progress import Span
from edgemodel_compressor.registry.client import OCI_MANIFEST, Descriptor, Registry, sha256
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.image import (
    BaseImage,
    ImageError,
    check_base,
    choose_platform,
    compose,
    descriptor,
    is_index,
)
from edgemodel_compressor.registry.layer import build_layer
from edgemodel_compressor.registry.reference import Reference, Repository, parse_reference, parse_repository
from edgemodel_contract.result import Success, decode_result, encode_result
from edgemodel_contract.task import Task

RESULT_TYPE = "application/vnd.edgemodel.result.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Published:
    """``repository@sha256:…``, and the bytes of the layer that was added."""

    image: str
    layer_size: int


@dataclass(frozen=True)
class Places:
    """The references of a task, parsed."""

    repository: Repository
    base: Reference

    @classmethod
    def of(cls, task: Task) -> "Places":
        """Raises TaskError, InvalidTask, where one of them cannot be read."""
        try:
            return cls(parse_repository(task.repository), parse_reference(task.base_image))
        except ValueError as error:
            raise TaskError("InvalidTask", f"The task names an image that cannot be read: {error}.") from error


def find_result(registry: Registry, task: Task) -> Success | None:
    """The Result of an earlier run of this very task, if its image and its Result are both in the registry.

    Raises:
        TaskError: RegistryUnavailable, RegistryUnauthorized.
    """
    repository = Places.of(task).repository
    with _registry_failures():
        try:
            image = registry.manifest(Reference(repository, task.tag))
            stored = registry.manifest(Reference(repository, result_tag(task)))
            blob = descriptor(stored.body["layers"][0])
            result = decode_result(registry.blob(repository, blob).decode())
        except RegistryError as error:
            if error.kind in ("NotFound", "Invalid"):
                return None
            raise
        except (ImageError, ValueError, LookupError, TypeError):
            return None
    current = (
        isinstance(result, Success) and result.task == task.digest and result.image == f"{repository}@{image.digest}"
    )
    return msgspec.structs.replace(result, reused=True) if current and isinstance(result, Success) else None


def find_base(registry: Registry, task: Task) -> tuple[Repository, BaseImage]:
    """The base image for the task's platform, and the repository it is in.

    Raises:
        TaskError: BaseImageInvalid, RegistryUnavailable, RegistryUnauthorized.
    """
    reference = Places.of(task).base
    with _registry_failures(base=reference):
        manifest = registry.manifest(reference)
        if is_index(manifest):
            chosen = choose_platform(manifest, task.platform)
            manifest = registry.manifest(Reference(reference.repository, chosen))
        config = manifest.body.get("config")
        if not isinstance(config, dict):
            raise ImageError("it has no configuration; it is not a container image")
        data = registry.blob(reference.repository, descriptor(config))
        return reference.repository, check_base(manifest, data, task.platform)


@limits_explained()
def publish_image(
    registry: Registry,
    task: Task,
    base_image: tuple[Repository, BaseImage],
    files: Mapping[str, Path | bytes],
    folder: Path,
    span: Span,
) -> Published:
    """Push ``base_image`` plus ``files`` as ``repository:tag``; ``folder`` takes the layer while it is built.

    Raises:
        TaskError: RegistryUnavailable, RegistryUnauthorized; SourceTooLarge where the layer finds no room.
    """
    span.report("Pushing", "building the model layer")
    target = Places.of(task).repository
    source, base = base_image
    layer = build_layer(files, folder / "layer.tar.gz")
    annotations = {
        "io.edge5g.edgemodel.name": task.name,
        "io.edge5g.edgemodel.task": task.digest,
        "org.opencontainers.image.base.digest": base.manifest.digest,
        "org.opencontainers.image.base.name": task.base_image,
    }
    image = compose(base, Descriptor("", layer.digest, layer.size), layer.diff_id, annotations)
    total = sum(blob.size for blob in base.layers) + layer.size
    done = 0
    with _registry_failures():
        for blob in base.layers:
            span.report("Pushing", f"bringing the base layer {blob.digest[:19]} to {target}", done / total)
            registry.copy(target, source, blob)
            done += blob.size
        span.report("Pushing", f"pushing the model layer ({layer.size} bytes) to {target}", done / total)
        if not registry.has_blob(target, layer.digest, push=True):
            registry.upload(target, image.layer_blob, lambda: _chunks(layer.path))
        _upload_bytes(registry, target, image.config_blob, image.config)
        digest = registry.put_manifest(target, task.tag, image.media_type, image.manifest)
    layer.path.unlink()
    return Published(f"{target}@{digest}", layer.size)


def publish_result(registry: Registry, task: Task, result: Success) -> None:
    """Store ``result`` where ``find_result`` looks for it.

    Raises:
        TaskError: RegistryUnavailable, RegistryUnauthorized.
    """
    target = Places.of(task).repository
    data = encode_result(result)
    blob = Descriptor(RESULT_TYPE, sha256(data), len(data))
    empty = Descriptor(_EMPTY_TYPE, sha256(b"{}"), 2)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": RESULT_TYPE,
        "config": {"mediaType": empty.media_type, "digest": empty.digest, "size": empty.size},
        "layers": [{"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}],
    }
    with _registry_failures():
        _upload_bytes(registry, target, empty, b"{}")
        _upload_bytes(registry, target, blob, data)
        registry.put_manifest(target, result_tag(task), OCI_MANIFEST, msgspec.json.encode(manifest, order="sorted"))


def result_tag(task: Task) -> str:
    """The tag of the Result's artifact."""
    return f"{task.tag}.result"


def _upload_bytes(registry: Registry, target: Repository, blob: Descriptor, data: bytes) -> None:
    if not registry.has_blob(target, blob.digest, push=True):
        registry.upload(target, blob, lambda: [data])


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


@contextmanager
def _registry_failures(base: Reference | None = None) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise TaskError("BaseImageInvalid", f"The base image {base} cannot be used: {error}.") from error
    except RegistryError as error:
        if error.kind == "Unauthorized":
            raise TaskError("RegistryUnauthorized", error.message) from error
        if base and error.kind in ("NotFound", "Invalid"):
            raise TaskError(
                "BaseImageInvalid", f"The base image {base} cannot be used: {error.message} Check its name and tag."
            ) from error
        raise TaskError("RegistryUnavailable", error.message) from error
