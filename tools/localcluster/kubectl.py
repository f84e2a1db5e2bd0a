"""Runs kubectl against one cluster, whatever the difference between its version and the server's."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.localcluster.system.shell import run

FIRST_WITH_RULES = 25
"""Servers from 1.25 evaluate CEL rules, and validate fields when kubectl asks them to."""


class Kubectl:
    """kubectl with a fixed kubeconfig; call it with kubectl's arguments.

    Args:
        minor: the server's minor version (20 for 1.20); None: asked of the server when it matters.
    """

    def __init__(self, binary: Path, kubeconfig: Path, minor: int | None = None) -> None:
        self._binary = binary
        self._kubeconfig = kubeconfig
        self._minor = minor

    @property
    def minor(self) -> int:
        """The server's minor version: 20 for 1.20."""
        if self._minor is None:
            version = json.loads(self("get", "--raw", "/version").stdout)
            self._minor = int(re.sub(r"[^0-9].*", "", version["minor"]))
        return self._minor

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

    def apply(self, *args: str | Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """`kubectl apply <args>`, validated where the server can: one that does not know CEL rules refuses a definition
        that has them, instead of dropping them."""
        return self("apply", *self._validation(), *args, input=input)

    def create(self, *manifests: dict[str, Any], namespace: str | None = None) -> None:
        """Apply objects server-side; the same call twice is fine."""
        scope: Iterable[str] = () if namespace is None else (f"--namespace={namespace}",)
        self(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=edgemodel-cluster"),
            *(*self._validation(), *scope, "-f", "-"),
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}),
        )

    def _validation(self) -> list[str]:
        return [] if self.minor >= FIRST_WITH_RULES else ["--validate=false"]
