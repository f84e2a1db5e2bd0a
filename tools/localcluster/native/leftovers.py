"""Looks for what a native cluster has left on the machine; after `down` there must be nothing."""

from __future__ import annotations

from pathlib import Path

from tools.localcluster.config import NETWORK
from tools.localcluster.native import cgroups, network
from tools.localcluster.system.processes import MARKER, OWNER, Identity, command_line, environments
from tools.localcluster.system.shell import run


def leftovers(state: Path) -> list[str]:
    """One line for every process, namespace, link, route, iptables rule, mount, control group and file of ours.

    Args:
        state: the cluster's state folder; a running control plane of a test elsewhere is not a leftover.
    """
    return [
        *(f"process {_describe(identity)}" for identity in _processes(state)),
        *(f"control group {group}" for group in cgroups.groups()),
        *(f"network namespace {name}" for name in network.namespaces()),
        *(f"link {name}" for name in sorted(network.links())),
        *(f"route {line}" for line in _routes()),
        *(f"iptables {rule}" for rule in network.rules()),
        *(f"mount {point}" for point in _mounts(state)),
        *([f"folder {state}"] if state.exists() else []),
    ]


def _processes(state: Path) -> list[Identity]:
    prefix = f"{MARKER}={state}".encode()
    found = {identity.pid: identity for identity in cgroups.processes()}
    for identity, variables in environments():
        owned = any(variable.startswith(f"{OWNER}=".encode()) for variable in variables)
        if not owned and any(variable.startswith(prefix) for variable in variables):
            found[identity.pid] = identity
    return list(found.values())


def _describe(identity: Identity) -> str:
    return f"{identity.pid} {command_line(identity)[:120]}"


def _routes() -> list[str]:
    first, second = str(NETWORK.network_address).split(".")[:2]
    return [
        line
        for line in run("ip", "-4", "route", check=False).stdout.splitlines()
        if line.startswith(f"{first}.{second}.")
    ]


def _mounts(state: Path) -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(state) or f"/{network.PREFIX}" in point]
