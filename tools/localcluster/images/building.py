"""Builds the project's three images and puts them into the cluster's registry.

An image's tag is a key over all that goes into it, and the registry is asked for that tag: what is there already
is up to date, so a second run only asks, a changed file rebuilds the images that copy it, and a wiped registry is
filled again. Built with Docker where an engine answers, else with buildah (Debian, root).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import httpx

from tools.localcluster.errors import ClusterError
from tools.localcluster.images import docker_engine
from tools.localcluster.images.buildah import Buildah
from tools.localcluster.images.inputs import content_key
from tools.localcluster.system.paths import cache_dir, locked
from tools.localcluster.system.progress import Progress, Step, clock

DOCKERFILES = {
    "inference": "inference-image/Dockerfile",
    "compression": "compression-image/Dockerfile",
    "operator": "operator/Dockerfile",
}
CONTEXT = Path(__file__).resolve().parents[3]
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class Registry(Protocol):
    """Where images go: `tools.localcluster.load().registry`."""

    @property
    def name(self) -> str:
        """The registry as written in image references, for instance `127.0.0.1:5000`."""

    @property
    def host_endpoint(self) -> str:
        """The URL at which this machine reaches it."""


class Builder(Protocol):
    """What Docker and buildah both do."""

    @property
    def variant(self) -> str:
        """What else goes into every image besides the context: part of each key."""

    def has(self, image: str) -> bool:
        """Whether `image` is in the builder's own storage."""

    def prepare(self) -> None:
        """Make what every build needs and no build has made yet."""

    def build(self, image: str, context: Path, dockerfile: str, step: Step) -> None:
        """Build `image`."""

    def push(self, image: str, target: str, step: Step) -> None:
        """Push `image` to the reference `target`."""

    def unpacked_bytes(self, image: str) -> int:
        """Bytes of the files of `image`."""


def build(registry: Registry, *, only: Iterable[str] | None = None, progress: Progress | None = None) -> dict[str, str]:
    """Bring the images in the registry up to date.

    Args:
        registry: where they go.
        only: names from DOCKERFILES; all of them when absent.

    Returns:
        Image name to reference by digest, for instance
        `{"inference": "127.0.0.1:5000/edgemodel/inference@sha256:…"}`.

    Raises:
        ClusterError: an unknown name, a build or push that failed, or a registry that does not answer.
    """
    progress = progress or Progress()
    names = list(DOCKERFILES) if only is None else list(only)
    unknown = [name for name in names if name not in DOCKERFILES]
    if unknown:
        raise ClusterError(f"There is no image {', '.join(unknown)}; there are {', '.join(DOCKERFILES)}.")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked("images"), _builder(progress) as builder:
        return {name: _ensure(name, registry, builder, progress) for name in names}


def unpacked_bytes(name: str, progress: Progress) -> int:
    """Bytes of the files of an image, which is built if it is not at hand.

    Raises:
        ClusterError: there is nothing on this machine that builds images, or the build failed.
    """
    if not docker_engine.answers() and shutil.which("buildah") is None:
        raise ClusterError("There is neither a Docker engine nor buildah on this machine.")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with locked("images"), _builder(progress) as builder:
        local, _ = _names(name, builder)
        if not builder.has(local):
            builder.prepare()
            with progress.step(f"image {name}") as step:
                builder.build(local, CONTEXT, DOCKERFILES[name], step)
        return builder.unpacked_bytes(local)


def _builder(progress: Progress) -> AbstractContextManager[Builder]:
    if docker_engine.answers():
        return docker_engine.DockerEngine.session(progress)
    return Buildah.session(progress)


def _ensure(name: str, registry: Registry, builder: Builder, progress: Progress) -> str:
    dockerfile = DOCKERFILES[name]
    repository = f"edgemodel/{name}"
    local, key = _names(name, builder)
    found = look_up(registry, repository, key)
    missing = found is None and not builder.has(local)
    if missing:
        builder.prepare()
    with progress.step(f"image {name}") as step:
        if found is not None:
            step.note = f"{_size(found)}, up to date"
        else:
            if missing:
                builder.build(local, CONTEXT, dockerfile, step)
            built = f"built in {clock(step.elapsed)}, " if missing else ""
            builder.push(local, f"{registry.name}/{repository}:{key}", step)
            found = look_up(registry, repository, key)
            if found is None:
                raise ClusterError(
                    f"{registry.name} took the image {repository}:{key} and does not have it now;"
                    " is another registry running under that address?"
                )
            step.note = f"{_size(found)}, {built}pushed"
    return f"{registry.name}/{repository}@{found[0]}"


def _names(name: str, builder: Builder) -> tuple[str, str]:
    """An image in the builder's own storage, and the key that is its tag."""
    key = content_key(CONTEXT, DOCKERFILES[name], builder.variant)
    return f"localhost/edgemodel/{name}:{key}", key


def look_up(registry: Registry, repository: str, tag: str) -> tuple[str, int] | None:
    """Digest and compressed bytes of an image in the registry; None where it is not there.

    Raises:
        ClusterError: the registry does not answer, or not like a registry.
    """
    url = f"{registry.host_endpoint}/v2/{repository}/manifests/{tag}"
    try:
        answer = httpx.get(url, headers={"Accept": ", ".join(_MANIFESTS)}, timeout=30)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        manifest = answer.json()
        size = sum(layer["size"] for layer in manifest.get("layers", ()))
        return answer.headers["Docker-Content-Digest"], size
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise ClusterError(
            f"The registry at {registry.host_endpoint} cannot be asked for images ({error}); is the cluster up?"
        ) from error


def _size(found: tuple[str, int]) -> str:
    return f"{found[1] / 1e6:.0f} MB"
