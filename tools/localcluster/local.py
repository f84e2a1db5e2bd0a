"""What the clusters on this machine have in common, whoever runs their nodes."""

from __future__ import annotations

from pathlib import Path

from tools.localcluster.config import ClusterConfig


class LocalCluster:
    """A cluster whose files lie in `state`, with a registry of its own."""

    def __init__(self, config: ClusterConfig, state: Path) -> None:
        self.config = config
        self._state = state

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._state / "kubeconfig"

    @property
    def registry_name(self) -> str:
        """What image references begin with."""
        return self.config.registry_name

    @property
    def registry_host_endpoint(self) -> str:
        """The registry's URL on this machine."""
        return f"http://{self.registry_name}"
