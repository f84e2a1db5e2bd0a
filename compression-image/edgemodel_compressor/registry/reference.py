"""Image references: ``host/path:tag``, ``host/path@sha256:…``, and the short forms of Docker Hub."""

import re
from dataclasses import dataclass

_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

DOCKER_HUB = "docker.io"


@dataclass(frozen=True)
class Repository:
    """A repository as written in image references: ``host`` and ``path``."""

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"


@dataclass(frozen=True)
class Reference:
    """A manifest in a repository, by tag or by digest."""

    repository: Repository
    target: str
    """Tag or ``sha256:…``."""

    @property
    def digest(self) -> str | None:
        """The digest, if the reference has one."""
        return self.target if _DIGEST.fullmatch(self.target) else None

    def __str__(self) -> str:
        return f"{self.repository}{'@' if self.digest else ':'}{self.target}"


def parse_repository(text: str) -> Repository:
    """``registry/path`` without tag. Raises ValueError with an example for anything else."""
    host, path = _split_host(text)
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path):
        raise ValueError(f"{text!r} is not a repository: write it like registry.example.com/models/digits")
    return Repository(host, path)


def parse_reference(text: str) -> Reference:
    """An image reference; ``latest`` where it has no tag. Raises ValueError with an example for anything else."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, "latest"
    target = digest or tag
    if not (_DIGEST if digest else _TAG).fullmatch(target):
        raise ValueError(f"{text!r} is not an image reference: write it like registry.example.com/path:tag")
    return Reference(parse_repository(head), target)


def _split_host(text: str) -> tuple[str, str]:
    host, slash, path = text.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return host, path
    return DOCKER_HUB, text if slash else f"library/{text}"
