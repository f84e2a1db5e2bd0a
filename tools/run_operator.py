"""`python -m tools.run_operator`: the operator on this machine, against the cluster that KUBECONFIG names.

Its settings are those of the installation there, from the ConfigMap, and what the environment says instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tools.release.installation import NAME

NAMESPACE = "edgemodel-system"
_LOCAL = {"EDGEMODEL_LOG_FORMAT": "plain"}


def environment(installed: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The operator's environment: readable logs, then the installation's settings, then what `own` says."""
    return {**_LOCAL, **installed, **own}


def still_runs(deployment: Mapping[str, Any] | None) -> bool:
    """Whether the cluster has an operator of its own, which holds the Lease that ours would wait for."""
    return deployment is not None and deployment["spec"].get("replicas", 1) > 0


def main() -> NoReturn:
    """Entry point, which becomes the operator. Ends with 2 where another runs in the cluster, or kubectl fails."""
    if still_runs(_read("deployment")):
        print(
            "An operator runs in the cluster, and this one would wait for its turn. Stop that one first:\n"
            f"  kubectl scale deployment/{NAME} --namespace {NAMESPACE} --replicas=0",
            file=sys.stderr,
        )
        raise SystemExit(2)
    settings = (_read("configmap") or {}).get("data", {})
    program = Path(sys.executable).with_name(NAME)
    os.execve(program, [str(program)], environment(settings, os.environ))  # noqa: S606


def _read(kind: str) -> dict[str, Any] | None:
    command = ["kubectl", "get", kind, NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(2)
    found: dict[str, Any] | None = json.loads(done.stdout) if done.stdout.strip() else None
    return found


if __name__ == "__main__":
    main()
