"""CPU time and memory of processes, from /proc."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a living process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def descendants(pid: int) -> list[int]:
    """``pid`` and the living processes that it began, or that they began; their parents must live, too."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(file.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def tree_cpu_seconds(pid: int) -> float:
    """User and system time so far of ``pid`` and its descendants."""
    total = 0.0
    for one in descendants(pid):
        with suppress(OSError):  # it has just ended
            total += cpu_seconds(one)
    return total


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a living process: (now, highest ever) in MiB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


@dataclass(frozen=True)
class Usage:
    """What each process took of the machine in one phase."""

    seconds: float
    cpu: dict[str, float]
    """CPU seconds by process."""

    def shares(self) -> dict[str, float]:
        """Cores kept busy on average, by process."""
        return {name: used / self.seconds for name, used in self.cpu.items()}


class Stopwatch:
    """Started when made."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._started = time.monotonic()
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def read(self) -> Usage:
        """Since the start."""
        used = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
        return Usage(time.monotonic() - self._started, used)
