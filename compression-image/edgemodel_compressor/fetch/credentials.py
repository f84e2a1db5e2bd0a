"""The mounted Secret of a source: user and password, a token, or a Docker configuration."""

from dataclasses import dataclass
from pathlib import Path

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.registry.credentials import (
    DOCKER_CONFIG_KEY,
    Credentials,
    Login,
    read_docker_config,
)


@dataclass(frozen=True)
class SourceLogin:
    """What the Secret holds. ``login`` is for any server, ``registries`` for registries by name."""

    login: Login | None
    registries: Credentials

    @property
    def headers(self) -> dict[str, str]:
        """Headers for a web server."""
        if self.login is None:
            return {}
        return {"Authorization": f"Bearer {self.login.token}" if self.login.token else self.login.basic}


def read_source_login(folder: Path) -> SourceLogin:
    """The Secret mounted at ``folder``.

    Raises:
        TaskError: SourceUnauthorized where it has none of the keys.
    """
    values = {
        key: (folder / key).read_text().strip() for key in ("username", "password", "token") if (folder / key).is_file()
    }
    login = None
    if values.get("token"):
        login = Login(token=values["token"])
    elif values.get("username"):
        login = Login(values["username"], values.get("password", ""))
    config = folder / DOCKER_CONFIG_KEY
    if login is None and not config.is_file():
        raise TaskError(
            "SourceUnauthorized",
            f"The Secret of the source has none of the keys username, token and {DOCKER_CONFIG_KEY}; add one.",
        )
    return SourceLogin(login, read_docker_config(config))
