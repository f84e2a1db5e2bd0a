"""Puts a file into a registry as an OCI artifact of one layer, as `oras push` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from edgemodel_compressor.registry.client import OCI_MANIFEST, Descriptor, open_registry, sha256
from edgemodel_compressor.registry.credentials import Credentials
from edgemodel_compressor.registry.reference import parse_reference
from edgemodel_compressor.retry import RetryPolicy
from edgemodel_contract.task import RegistryAccess
from tools.localcluster import Registry

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_CHUNK = 1 << 20


def push(registry: Registry, reference: str, file: Path, media_type: str) -> str:
    """Push `file` as `reference` and return the manifest's digest.

    Args:
        registry: the cluster's registry; `reference` begins with its name.
        media_type: of the file, for instance `application/onnx`.

    Raises:
        RegistryError: the registry cannot be reached or refuses.
    """
    target = parse_reference(reference)
    layer = Descriptor(media_type, sha256(file.read_bytes()), file.stat().st_size)
    config = Descriptor(_EMPTY_TYPE, sha256(_EMPTY), len(_EMPTY))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": _json(config),
        "layers": [{**_json(layer), "annotations": {"org.opencontainers.image.title": file.name}}],
    }

    def chunks() -> Iterator[bytes]:
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk

    access = RegistryAccess(endpoints={registry.name: registry.host_endpoint})
    with open_registry(access, Credentials({}), None, RetryPolicy(), connect_timeout=5, read_timeout=60) as client:
        for blob, source in ((config, lambda: [_EMPTY]), (layer, chunks)):
            if not client.has_blob(target.repository, blob.digest, push=True):
                client.upload(target.repository, blob, source)
        return client.put_manifest(target.repository, target.target, OCI_MANIFEST, json.dumps(manifest).encode())


def _json(blob: Descriptor) -> dict[str, object]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
