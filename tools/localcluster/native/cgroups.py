"""Control groups of the nodes: `/edgemodel/<node>` with `system` for its daemons and `kubepods` for its pods.

Works with the split hierarchies of cgroup v1 and with the unified one of v2.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from tools.localcluster.system.processes import Identity, pids_in

ROOT = Path("/sys/fs/cgroup")
PARENT = "edgemodel"
# What kubelet and runc keep accounts in; without `cpuset` or `pids` they refuse to start a pod.
_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


def cgroup_root(node: str) -> str:
    """The group that holds all of a node, as kubelet's cgroupRoot names it."""
    return f"/{PARENT}/{node}"


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The mounted hierarchies: `root` itself under v2, its subfolders under v1 (each once)."""
    if (root / "cgroup.controllers").exists():
        return [root]
    # cpu and cpuacct may be links to one folder "cpu,cpuacct"; "unified" is v2 beside v1 and controls nothing.
    folders = {path.resolve() for path in root.iterdir() if path.is_dir()}
    return sorted(path for path in folders if (path / "cgroup.procs").exists() and path.name != "unified")


def create(node: str) -> list[Path]:
    """Make a node's groups in every hierarchy; returns the groups for its daemons."""
    system = []
    for hierarchy in hierarchies():
        group = hierarchy
        for name in (PARENT, node, "system"):
            # v2 hands controllers down level by level, and then allows processes in leaves alone.
            _delegate(group)
            group = group / name
            group.mkdir(exist_ok=True)
            _inherit_cpuset(group)
        system.append(group)
    return system


def _inherit_cpuset(group: Path) -> None:
    # A new v1 cpuset has no CPU and no memory: nothing could be put into it.
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = group / name
        if file.exists() and not (group / "cgroup.controllers").exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def _delegate(group: Path) -> None:
    control = group / "cgroup.subtree_control"
    if not control.exists():
        return
    available = (group / "cgroup.controllers").read_text().split()
    control.write_text(" ".join(f"+{name}" for name in _CONTROLLERS if name in available))


def processes(node: str = "") -> list[Identity]:
    """Living processes of a node, its containers included; of all nodes where no name is given."""
    found = {identity.pid: identity for hierarchy in hierarchies() for identity in pids_in(hierarchy / PARENT / node)}
    return list(found.values())


def container_processes(node: str, container_id: str) -> list[Identity]:
    """Living processes of one container of a node."""
    found = {}
    for hierarchy in hierarchies():
        for group in (hierarchy / PARENT / node).rglob(container_id):
            found.update({identity.pid: identity for identity in pids_in(group)})
    return list(found.values())


def groups() -> list[Path]:
    """All groups of ours that exist, deepest first."""
    found: list[Path] = []
    for hierarchy in hierarchies():
        top = hierarchy / PARENT
        if top.is_dir():
            found += [top, *(path for path in top.rglob("*") if path.is_dir())]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def remove(node: str = "") -> None:
    """Remove the groups of a node, of all nodes where no name is given; their processes must be gone."""
    for group in groups():
        if not node or f"/{PARENT}/{node}/" in f"{group}/":
            # A group can be busy for a moment after its last process; who needs certainty asks `groups`.
            with contextlib.suppress(OSError):
                group.rmdir()
