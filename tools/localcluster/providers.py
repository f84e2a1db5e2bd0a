"""Chooses the provider, and brings a cluster up or down with it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tools.localcluster import existing, kind
from tools.localcluster.config import PROVIDERS, ClusterConfig, Provider
from tools.localcluster.errors import ClusterError
from tools.localcluster.handle import Cluster
from tools.localcluster.native import cluster as native
from tools.localcluster.native.leftovers import leftovers
from tools.localcluster.system.paths import cache_dir, locked, state_dir
from tools.localcluster.system.progress import Progress

_CONFIG = "config.json"


def choose(environment: dict[str, str], docker_and_kind: bool) -> Provider:
    """The provider that `auto` means: a KUBECONFIG of the user's, else kind where it can run, else native."""
    kubeconfig = environment.get("KUBECONFIG", "")
    # The line that `up` prints exports our own kubeconfig: that is no cluster of somebody else's.
    if kubeconfig and not Path(kubeconfig).is_relative_to(state_dir()):
        return "existing"
    return "kind" if docker_and_kind else "native"


def recorded() -> ClusterConfig | None:
    """What the last `up` was asked for; None where nothing is up."""
    try:
        value = json.loads((state_dir() / _CONFIG).read_text())
    except FileNotFoundError:
        return None
    return ClusterConfig.from_dict(value)


def up(config: ClusterConfig | None = None, progress: Progress | None = None) -> Cluster:
    """Bring a cluster up, or mend the one that is; returns when every node is Ready.

    Args:
        config: what to bring up; when absent, what is up already, else the default with the provider that
            fits this machine.

    Raises:
        ClusterError: it cannot; or another configuration is up.
    """
    progress = progress or Progress()
    state = state_dir()
    with locked("cluster"):
        if native.forget_after_reboot(state):
            with progress.step("state of an earlier boot forgotten"):
                pass
        present = recorded()
        if config is None:
            config = present or ClusterConfig(provider=choose(dict(os.environ), kind.available()))
        if present is not None and present != config:
            raise ClusterError(
                f"A {present.provider} cluster of {present.sites} sites with {present.nodes_per_site} nodes each is"
                f" up; run `python -m tools.localcluster down` before asking for {config.sites} with"
                f" {config.nodes_per_site} each on {config.provider}."
            )
        driver = _driver(config)
        # Before it is on record: who then installs what was missing shall be free to choose again.
        driver.require()
        part = state / f"{_CONFIG}.part"
        part.write_text(json.dumps(config.to_dict()))
        part.rename(state / _CONFIG)
        driver.up(progress)
    return Cluster(driver)


def load() -> Cluster:
    """The cluster that is up.

    Raises:
        ClusterError: none is.
    """
    config = recorded()
    if config is None:
        raise ClusterError("No local cluster is up; run `python -m tools.localcluster up`.")
    return Cluster(_driver(config))


def down(progress: Progress | None = None, purge_cache: bool = False) -> None:
    """Remove the cluster and all it put on this machine; harmless where nothing is.

    Args:
        purge_cache: remove the built binaries too; building them again takes minutes.

    Raises:
        ClusterError: something is left; the message lists it.
    """
    progress = progress or Progress()
    state = state_dir()
    with locked("cluster"):
        present = recorded()
        if present is not None and present.provider != "native":
            driver = kind.KindCluster if present.provider == "kind" else existing.ExistingCluster
            driver(present, state).down(progress)
            native.remove_files(state)
        elif state.exists() or (os.geteuid() == 0 and leftovers(state)):
            native.tear_down(state, progress)
            left = leftovers(state)
            if left:
                raise ClusterError("Still there after `down`; run it again:\n  " + "\n  ".join(left))
    if purge_cache:
        with progress.step(f"cache {cache_dir()}"):
            shutil.rmtree(cache_dir())


def _driver(config: ClusterConfig) -> native.NativeCluster | kind.KindCluster | existing.ExistingCluster:
    assert config.provider in PROVIDERS
    if config.provider == "kind":
        return kind.KindCluster(config, state_dir())
    if config.provider == "existing":
        return existing.ExistingCluster(config, state_dir())
    return native.NativeCluster(config, state_dir())
