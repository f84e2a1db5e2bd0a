"""Debian packages: installs what is missing, starts no service, leaves apt's own lists alone for sources."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.system.progress import Progress, Step
from tools.localcluster.system.shell import run, stream

RUNTIME = (
    "buildah",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "docker-registry",
    "etcd-server",
    "iproute2",
    "iptables",
    "openssl",
    "procps",
    "runc",
    "util-linux",
)
BUILD = (
    "dpkg-dev",
    "gcc",
    "golang-1.19-go",
    "golang-github-modern-go-reflect2-dev",
    "jq",
    "libc6-dev",
    "make",
    "rsync",
)

_POLICY = Path("/usr/sbin/policy-rc.d")
_INSTALLING = "EDGEMODEL_INSTALLING"
# Refuses services only while we install: left behind by a killed run it changes nothing for anybody else.
_POLICY_TEXT = f'#!/bin/sh\n# edgemodel cluster harness\n[ -z "${_INSTALLING}" ] || exit 101\nexit 0\n'


def require_debian_root() -> None:
    """Raise ClusterError unless this is Linux, Debian-like and root."""
    if sys.platform != "linux":
        raise ClusterError(
            "The native cluster needs Linux: network namespaces and cgroups. Start Docker and install kind,"
            " or set KUBECONFIG to a cluster of yours and use --provider existing."
        )
    if os.geteuid() != 0:
        raise ClusterError(
            "The native cluster needs root: it makes network namespaces, cgroups and iptables rules."
            " Run the same command with sudo, or start Docker and install kind."
        )
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        raise ClusterError(
            "The native cluster installs Debian packages and finds no apt-get here. Use Debian 12,"
            " or start Docker and install kind, or set KUBECONFIG and use --provider existing."
        )


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that dpkg does not list as installed."""
    wanted = list(names)
    listed = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted, check=False).stdout
    installed = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def install(names: Iterable[str], progress: Progress, log: Path) -> None:
    """Install those of `names` that are missing, without starting their services."""
    wanted = missing(names)
    if not wanted:
        return
    require_debian_root()
    log.parent.mkdir(parents=True, exist_ok=True)
    with progress.step(f"Debian packages: {' '.join(wanted)}") as step, _no_services():
        simulated = run("apt-get", "install", "--simulate", "--no-install-recommends", *wanted, check=False)
        if simulated.returncode != 0:
            _apt(step, log, "update")
        _apt(step, log, "install", "--yes", "--no-install-recommends", *wanted)


def _apt(step: Step, log: Path, *args: str) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", _INSTALLING: "1"}
    # Another apt may run at the same time (unattended upgrades, a second terminal): wait for it.
    command = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-q", *args)
    stream(command, lambda line: step.update(line[:90]), log, env=env)


@contextmanager
def _no_services() -> Iterator[None]:
    """Let maintainer scripts start nothing: etcd, containerd and the registry run only as we start them."""
    ours = not _POLICY.exists() or _POLICY.read_text() == _POLICY_TEXT
    if ours:
        _POLICY.write_text(_POLICY_TEXT)
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
