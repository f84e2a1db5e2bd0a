"""Small base images for a test registry, in OCI's and in Docker's form, and readers for what was pushed."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from tests.unit.compressor.servers import HTTP, RunningRegistry, put_blob, put_manifest

OCI = "application/vnd.oci.image.manifest.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_TYPES = {
    OCI: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
    DOCKER: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


def sha256(data: bytes) -> str:
    """``sha256:…`` of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: dict[str, bytes]) -> bytes:
    """An uncompressed tar of ``files``."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def push_base(
    registry: RunningRegistry,
    repository: str = "base/server",
    tag: str = "v1",
    media_type: str = OCI,
    architecture: str = "amd64",
    content: bytes = b"print('serving')\n",
) -> str:
    """Push a base image of one layer; returns its manifest's digest."""
    config_type, layer_type = _TYPES[media_type]
    plain = tar({"app/server.py": content})
    layer = gzip.compress(plain, mtime=0)
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "2025-01-02T03:04:05Z",
            "config": {"Entrypoint": ["python3", "/app/server.py"], "User": "65532", "Labels": {"base": "yes"}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(plain)]},
            "history": [{"created": "2025-01-02T03:04:05Z", "created_by": "COPY app /app"}],
        }
    ).encode()
    for blob in (layer, config):
        put_blob(registry.url, repository, blob, sha256(blob))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": layer_type, "digest": sha256(layer), "size": len(layer)}],
    }
    data = json.dumps(manifest).encode()
    put_manifest(registry.url, repository, tag, media_type, data)
    return sha256(data)


def push_index(registry: RunningRegistry, repository: str, tag: str, architectures: tuple[str, ...]) -> str:
    """Push one base image per architecture and an index over them; returns the index's digest."""
    entries = []
    for architecture in architectures:
        name = f"{tag}-{architecture}"
        digest = push_base(registry, repository, name, architecture=architecture, content=architecture.encode())
        size = len(HTTP.get(f"{registry.url}/v2/{repository}/manifests/{digest}", headers={"Accept": OCI}).content)
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"mediaType": OCI, "digest": digest, "size": size, "platform": platform})
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    put_manifest(registry.url, repository, tag, OCI_INDEX, data)
    return sha256(data)


def push_artifact(registry: RunningRegistry, repository: str, tag: str, files: dict[str, bytes]) -> str:
    """Push ``files`` as ``oras push`` does: one blob each, its name in the title annotation."""
    put_blob(registry.url, repository, b"{}", sha256(b"{}"))
    layers = []
    for name, content in files.items():
        put_blob(registry.url, repository, content, sha256(content))
        layers.append(
            {
                "mediaType": "application/octet-stream",
                "digest": sha256(content),
                "size": len(content),
                "annotations": {"org.opencontainers.image.title": name},
            }
        )
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": empty, "layers": layers}).encode()
    put_manifest(registry.url, repository, tag, OCI, data)
    return sha256(data)


@dataclass(frozen=True)
class PulledImage:
    """An image as a node would unpack it."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[dict[str, tuple[tarfile.TarInfo, bytes]]]
    """Per layer, path → entry and content."""


def pull(registry: RunningRegistry, image: str) -> PulledImage:
    """Pull ``host/repository@digest`` and check every digest on the way."""
    name, _, digest = image.partition("@")
    repository = name.removeprefix(registry.host + "/")
    accept = {"Accept": f"{OCI}, {DOCKER}"}
    response = HTTP.get(f"{registry.url}/v2/{repository}/manifests/{digest}", headers=accept).raise_for_status()
    assert sha256(response.content) == digest
    manifest = response.json()
    assert response.headers["content-type"] == manifest["mediaType"]

    def blob(descriptor: dict[str, Any]) -> bytes:
        url = f"{registry.url}/v2/{repository}/blobs/{descriptor['digest']}"
        data = HTTP.get(url).raise_for_status().content
        assert (sha256(data), len(data)) == (descriptor["digest"], descriptor["size"])
        return data

    config = json.loads(blob(manifest["config"]))
    layers = []
    for descriptor, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        plain = gzip.decompress(blob(descriptor))
        assert sha256(plain) == diff_id
        entries = {}
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            for entry in archive:
                stream = archive.extractfile(entry)
                entries[entry.name] = (entry, stream.read() if stream else b"")
        layers.append(entries)
    return PulledImage(manifest, config, layers)


def tags(registry: RunningRegistry, repository: str) -> set[str]:
    """All tags of a repository."""
    response = HTTP.get(f"{registry.url}/v2/{repository}/tags/list")
    return set() if response.status_code == 404 else set(response.json()["tags"] or [])


def delete(registry: RunningRegistry, repository: str, tag: str) -> None:
    """Delete the manifest behind a tag."""
    url = f"{registry.url}/v2/{repository}/manifests"
    found = HTTP.head(f"{url}/{tag}", headers={"Accept": f"{OCI}, {DOCKER}"}).raise_for_status()
    HTTP.delete(f"{url}/{found.headers['docker-content-digest']}").raise_for_status()
