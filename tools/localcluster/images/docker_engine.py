"""Builds images with a Docker engine, from the base image that the Dockerfiles name themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.localcluster.system.paths import cache_dir
from tools.localcluster.system.progress import Progress, Step
from tools.localcluster.system.shell import run, stream


def answers() -> bool:
    """Whether a Docker engine is there; the client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    return run("docker", "version", "--format", "{{.Server.Version}}", check=False, timeout=30).returncode == 0


class DockerEngine:
    """Builds and pushes with docker."""

    variant = "docker"

    def __init__(self) -> None:
        self._log = cache_dir() / "images.log"

    @classmethod
    @contextmanager
    def session(cls, progress: Progress) -> Iterator[DockerEngine]:
        """A builder; Docker keeps its own house, nothing is set up or left."""
        del progress
        yield cls()

    def has(self, image: str) -> bool:
        """Whether the engine holds `image`."""
        return run("docker", "image", "inspect", image, check=False).returncode == 0

    def prepare(self) -> None:
        """Nothing: Docker pulls the base image by itself."""

    def build(self, image: str, context: Path, dockerfile: str, step: Step) -> None:
        """Build `image`."""
        self._stream(step, "build", "--tag", image, "--file", str(context / dockerfile), str(context))

    def push(self, image: str, target: str, step: Step) -> None:
        """Push `image` as `target`."""
        run("docker", "tag", image, target)
        self._stream(step, "push", target)

    def unpacked_bytes(self, image: str) -> int:
        """Bytes of the layers of `image`, unpacked."""
        return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image).stdout)

    def _stream(self, step: Step, *args: str) -> None:
        environment = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
        stream(["docker", *args], lambda line: step.update(line[:90]), self._log, env=environment)
