"""The image registry: Debian's docker-registry on the host's loopback and, for nodes and pods, on the bridge.

Two processes share one storage folder: one program cannot listen at two addresses, and listening at every
address would show the registry to the machine's neighbours.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

from tools.localcluster.config import HOST_ADDRESS
from tools.localcluster.errors import ClusterError
from tools.localcluster.system.processes import Daemon
from tools.localcluster.system.shell import wait_for


class RegistryServer:
    """docker-registry with its storage in `folder`, known as `name` (`127.0.0.1:<port>`)."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._port = name.rpartition(":")[2]
        self._at = {address: Daemon(f"registry-{address}", folder) for address in ("127.0.0.1", HOST_ADDRESS)}

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Its processes."""
        return tuple(self._at.values())

    def start(self) -> None:
        """Start what does not run and wait until it answers.

        Raises:
            ClusterError: somebody else listens at that port.
        """
        for address, daemon in self._at.items():
            url = f"http://{address}:{self._port}"
            if not daemon.alive and answers(url):
                raise ClusterError(
                    f"Another registry or server listens at {address}:{self._port}; stop it (for Debian's own:"
                    " `systemctl disable --now docker-registry`) and try again."
                )
            config = self._folder / f"{daemon.name}.yml"
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(json.dumps(self._config(address), indent=2))
            daemon.ensure(["docker-registry", "serve", config], {"OTEL_TRACES_EXPORTER": "none"})

            def ready(url: str = url, daemon: Daemon = daemon) -> bool:
                daemon.require_alive()
                return answers(url)

            wait_for(f"the registry at {url}", ready, 30, 0.05)

    def stop(self) -> None:
        """Stop both; the images stay."""
        for daemon in self._at.values():
            daemon.stop(grace=3)

    def _config(self, address: str) -> dict[str, object]:
        return {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {
                "filesystem": {"rootdirectory": str(self._folder / "registry")},
                "delete": {"enabled": True},
            },
            # An upload begun at one address may go on at the other.
            "http": {"addr": f"{address}:{self._port}", "secret": "edgemodel-local"},
        }


def answers(url: str) -> bool:
    """Whether an HTTP server is there at all, whatever it says."""
    try:
        with urllib.request.urlopen(f"{url}/v2/", timeout=3):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False


def listens(address: str, port: int) -> bool:
    """Whether a TCP connection to that port is accepted."""
    try:
        with socket.create_connection((address, port), timeout=3):
            return True
    except OSError:
        return False
