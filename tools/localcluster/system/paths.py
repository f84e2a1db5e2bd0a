"""Where the harness keeps things: a cache that survives `down`, a state folder that does not."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.localcluster.errors import ClusterError


def _xdg(variable: str, default: str) -> Path:
    # The XDG specification says that a relative path is to be ignored.
    value = os.environ.get(variable, "")
    base = Path(value) if value.startswith("/") else Path.home() / default
    return base / "edgemodel"


def cache_dir() -> Path:
    """Built binaries, keyed by version: `$XDG_CACHE_HOME/edgemodel`, by default `~/.cache/edgemodel`."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """The running cluster's data, logs and kubeconfig: `$XDG_STATE_HOME/edgemodel/cluster`."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "cluster"


@contextmanager
def locked(name: str, timeout: float = 1800) -> Iterator[None]:
    """Hold the machine-wide lock `name`; two `up`s do one after the other what must not be done twice.

    The kernel lets go of the lock when its holder dies, so a killed `up` never blocks the next one.
    """
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    with path.open("a") as handle:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"Another command has held {path} for {timeout / 60:.0f} minutes; wait for it or stop it."
                    ) from None
                time.sleep(0.2)
        yield
