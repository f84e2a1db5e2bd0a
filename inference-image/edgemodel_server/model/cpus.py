"""How many CPUs this container may use, and how inference divides them."""

import math
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Parallelism:
    """``threads`` work on one inference, ``workers`` inferences run at once.

    ``spinning`` lets idle threads wait actively, which lowers latency on CPUs that are ours and wastes quota on CPUs
    that are not.
    """

    threads: int
    workers: int
    spinning: bool


def divide(cpus: float, threads: int | None = None) -> Parallelism:
    """One inference gets all of ``cpus``, unless ``threads`` says how many each shall have."""
    whole = math.ceil(cpus)
    each = threads or whole
    workers = max(1, whole // each)
    spinning = cpus == whole and each > 1 and workers * each <= cpus
    return Parallelism(threads=each, workers=workers, spinning=spinning)


def available_cpus(root: Path = Path("/")) -> float:
    """CPUs this process may use: its affinity, or its cgroup's quota (v1 or v2) where that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(affinity), *_quotas(root)])


def _quotas(root: Path) -> list[float]:
    """The quotas, in CPUs, of the process's cgroup and of every cgroup above it. ``root`` stands for ``/``."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    quotas: list[float] = []
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in dict.fromkeys((controllers, "cpu"))]
        else:
            continue
        for mount in mounts:
            for folder in _ancestry(mount, path):
                quotas += _quota(folder)
    return quotas


def _ancestry(mount: Path, path: str) -> list[Path]:
    """The cgroup at ``path`` and its parents up to the mount. Inside a container the mount often is the cgroup."""
    parts = PurePosixPath(path.lstrip("/")).parts
    if ".." in parts:
        return [mount]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota(folder: Path) -> list[float]:
    quota, period = (
        _words(folder / "cpu.max", 2)
        or (
            *_words(folder / "cpu.cfs_quota_us", 1),
            *_words(folder / "cpu.cfs_period_us", 1),
        )
        or ("max", "0")
    )
    if quota == "max" or int(quota) <= 0 or int(period) <= 0:
        return []
    return [int(quota) / int(period)]


def _words(file: Path, count: int) -> tuple[str, ...]:
    try:
        words = tuple(file.read_text().split())
    except OSError:
        return ()
    return words if len(words) == count else ()
