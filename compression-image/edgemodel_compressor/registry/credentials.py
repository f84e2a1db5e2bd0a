"""Registry credentials out of a ``.dockerconfigjson``, matched to a repository as the kubelet does."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.registry.reference import DOCKER_HUB, Repository

DOCKER_CONFIG_KEY = ".dockerconfigjson"
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io"}


@dataclass(frozen=True, repr=False)
class Login:
    """User and password, or a bearer token. Never shown: it has no representation."""

    username: str = ""
    password: str = ""
    token: str = ""

    @property
    def basic(self) -> str:
        """The value of a basic Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Credentials:
    """Logins by registry, optionally by path prefix within it."""

    def __init__(self, logins: Mapping[str, Login]) -> None:
        self._logins = dict(logins)

    def find(self, repository: Repository) -> Login | None:
        """The login whose key names the longest part of ``repository``."""
        name = str(repository)
        matching = [key for key in self._logins if name == key or name.startswith(key + "/")]
        return self._logins[max(matching, key=len)] if matching else None


def read_docker_config(path: Path) -> Credentials:
    """Logins of the file at ``path``; none if there is no such file.

    Raises:
        TaskError: RegistryUnauthorized where the file is not a Docker configuration.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return Credentials({})
    try:
        # Without auths where a helper program keeps the logins, which this program does not run.
        auths = msgspec.json.decode(data).get("auths", {})
        return Credentials({_key(host): login for host, entry in auths.items() if (login := _login(entry))})
    except (msgspec.MsgspecError, TypeError, AttributeError, ValueError) as error:
        raise TaskError(
            "RegistryUnauthorized",
            f"The registry credentials in {path.name} are not a Docker configuration with auths; create the Secret "
            "with kubectl create secret docker-registry.",
        ) from error


def _login(entry: Mapping[str, Any]) -> Login | None:
    if entry.get("registrytoken"):
        return Login(token=str(entry["registrytoken"]))
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except binascii.Error as error:
            raise ValueError("auth is not base64") from error
    return Login(username, password) if username else None


def _key(host: str) -> str:
    """``https://index.docker.io/v1/`` and its kin → ``docker.io``; ``host/path`` stays."""
    name = host.partition("://")[2] or host
    name = name.rstrip("/").removesuffix("/v1").removesuffix("/v2")
    first, slash, rest = name.partition("/")
    return (DOCKER_HUB if first in _HUB_NAMES else first) + slash + rest
