"""Runs kubectl against one cluster, whatever the difference between its version and the server's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .shell import run


class Kubectl:
    """kubectl with a fixed kubeconfig; call it with kubectl's arguments.

    Args:
        minor: the server's minor version (20 for 1.20); None when nobody knows.
    """

    def __init__(self, binary: Path, kubeconfig: Path, minor: int | None = None) -> None:
        self._binary = binary
        self._kubeconfig = kubeconfig
        self._minor = minor

    def __call__(
        self, *args: str | Path, input: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `kubectl <args>`; its output is captured as text.

        Raises:
            CommandFailedError: it ended with another code than 0 (and `check`).
            ClusterError: it took longer than `timeout` seconds.
        """
        return run(*self.command(*args), input=input, check=check, timeout=timeout)

    def command(self, *args: str | Path) -> list[str | Path]:
        """The command line of `kubectl <args>`, for who runs it in another way."""
        return [self._binary, f"--kubeconfig={self._kubeconfig}", *args]

    def json(self, *args: str | Path, timeout: float = 60) -> Any:
        """The decoded output of `kubectl <args> -o json`."""
        return json.loads(self(*args, "-o", "json", timeout=timeout).stdout)

    def create(self, *manifests: dict[str, Any], namespace: str | None = None) -> None:
        """Apply objects server-side; the same call twice is fine."""
        scope: Iterable[str] = () if namespace is None else (f"--namespace={namespace}",)
        self(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=edgemodel-cluster"),
            *("--validate=false", *scope, "-f", "-"),
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}),
        )
