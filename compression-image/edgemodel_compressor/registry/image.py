"""Image documents: choosing a platform, and a base image plus one layer. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgemodel_compressor.registry.client import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    sha256,
)

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_KEPT_ELSEWHERE = ("foreign", "nondistributable")


class ImageError(ValueError):
    """The base image cannot carry a model layer; the message says why, to be used inside a sentence."""


@dataclass(frozen=True)
class BaseImage:
    """A single-platform image: its manifest and its configuration."""

    manifest: Manifest
    config: Mapping[str, Any]

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""
        return tuple(descriptor(item) for item in self.manifest.body["layers"])


@dataclass(frozen=True)
class ComposedImage:
    """Manifest and configuration of the new image, ready to be pushed."""

    media_type: str
    manifest: bytes
    config: bytes
    config_blob: Descriptor
    layer_blob: Descriptor

    @property
    def digest(self) -> str:
        """``sha256:…`` of the manifest."""
        return sha256(self.manifest)


def descriptor(item: Any) -> Descriptor:
    """A descriptor out of a manifest. Raises ImageError where it is malformed."""
    try:
        return Descriptor(str(item.get("mediaType", "")), str(item["digest"]), int(item["size"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImageError("its manifest is malformed") from error


def is_index(manifest: Manifest) -> bool:
    """Whether the manifest is a list of images for several platforms."""
    return media_type_of(manifest) in (OCI_INDEX, DOCKER_LIST)


def media_type_of(manifest: Manifest) -> str:
    """The media type as the document says, else as the registry did."""
    return str(manifest.body.get("mediaType") or manifest.media_type)


def choose_platform(index: Manifest, platform: str) -> str:
    """The digest of the image for ``platform`` (``os/architecture[/variant]``) in ``index``.

    Raises:
        ImageError: there is none; the message lists those there are.
    """
    wanted = platform.split("/")
    offered = []
    for entry in index.body.get("manifests", []):
        found = entry.get("platform") or {}
        parts = [found.get("os", ""), found.get("architecture", ""), found.get("variant", "")]
        if parts[: len(wanted)] == wanted:
            return descriptor(entry).digest
        if parts[0] not in ("", "unknown"):
            offered.append("/".join(part for part in parts if part))
    raise ImageError(f"it is not offered for {platform}, only for {', '.join(sorted(set(offered))) or 'none'}")


def check_base(manifest: Manifest, config_data: bytes, platform: str) -> BaseImage:
    """The base image out of its documents.

    Raises:
        ImageError: it is not an image, or one for another platform.
    """
    if media_type_of(manifest) not in (OCI_MANIFEST, DOCKER_MANIFEST):
        raise ImageError(f"it is a {media_type_of(manifest) or 'document without media type'}, not an image")
    try:
        config = msgspec.json.decode(config_data)
        diff_ids = config["rootfs"]["diff_ids"]
        found = [config.get("os", ""), config.get("architecture", ""), config.get("variant", "")]
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise ImageError("it has no image configuration; it is an artifact, not a container image") from error
    base = BaseImage(manifest, config)
    wanted = platform.split("/")
    if found[: len(wanted)] != wanted:
        raise ImageError(f"it is for {'/'.join(part for part in found if part)}, not for {platform}")
    if len(diff_ids) != len(base.layers):
        raise ImageError("its configuration and its manifest disagree about the layers")
    if any(word in layer.media_type for layer in base.layers for word in _KEPT_ELSEWHERE):
        raise ImageError("it has layers that may not be copied to another repository")
    return base


def compose(
    base: BaseImage,
    layer: Descriptor,
    diff_id: str,
    annotations: Mapping[str, str],
) -> ComposedImage:
    """``base`` with one more layer; ``layer.media_type`` is set here, to the base's family.

    Nothing in it depends on the moment: the creation time stays the base's. ``annotations`` become labels of the
    configuration, and of OCI manifests annotations too; Docker's manifests have no place for them.
    """
    body = dict(base.manifest.body)
    oci = media_type_of(base.manifest) == OCI_MANIFEST
    layer = Descriptor(_OCI_LAYER if oci else _DOCKER_LAYER, layer.digest, layer.size)
    config = msgspec.json.encode(_extended_config(base.config, diff_id, annotations), order="sorted")
    config_blob = Descriptor(_OCI_CONFIG if oci else _DOCKER_CONFIG, sha256(config), len(config))
    body["config"] = _as_json(config_blob)
    body["layers"] = [*body["layers"], _as_json(layer)]
    body["mediaType"] = media_type_of(base.manifest)
    if oci:
        body["annotations"] = {**(body.get("annotations") or {}), **annotations}
    manifest = msgspec.json.encode(body, order="sorted")
    return ComposedImage(body["mediaType"], manifest, config, config_blob, layer)


def _extended_config(base: Mapping[str, Any], diff_id: str, labels: Mapping[str, str]) -> dict[str, Any]:
    config = dict(base)
    config["rootfs"] = {**base["rootfs"], "diff_ids": [*base["rootfs"]["diff_ids"], diff_id]}
    inner = dict(base.get("config") or {})
    inner["Labels"] = {**(inner.get("Labels") or {}), **labels}
    config["config"] = inner
    history = base.get("history") or []
    # A history is optional, but one that does not account for every layer confuses tools.
    if history or not base["rootfs"]["diff_ids"]:
        entry = {"created_by": "edgemodel-compress"}
        if "created" in base:
            entry["created"] = base["created"]
        config["history"] = [*history, entry]
    return config


def _as_json(blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
