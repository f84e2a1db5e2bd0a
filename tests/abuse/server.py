"""The server as a process: started on free ports, its log in a file, its memory read from /proc."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS = 60.0


@dataclass
class Target:
    """A server that is ready."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    grpc_port: int
    admin_port: int
    _log_read: int = field(default=0, repr=False)

    def processes(self) -> list[int]:
        """The server's own process and all below it."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            # A process may end while it is looked at.
            with suppress(OSError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(stat.parent.name))
        found = [self.process.pid]
        for process in found:
            found += children.get(process, [])
        return found

    def memory(self) -> int:
        """Resident bytes now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes that were resident since ``forget_peak``."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak begin at what is resident now."""
        for process in self.processes():
            Path(f"/proc/{process}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in self.processes())

    def news(self) -> list[str]:
        """Lines of the log since the last call."""
        content = self.log.read_bytes()[self._log_read :]
        self._log_read += len(content)
        return content.decode(errors="replace").splitlines()

    @staticmethod
    def settles(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Whether ``condition`` comes true in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def _status(self, name: str) -> int:
        total = 0
        for process in self.processes():
            with suppress(OSError):
                for line in Path(f"/proc/{process}/status").read_text().splitlines():
                    if line.startswith(f"{name}:"):
                        total += int(line.split()[1]) * 1024
        return total


def descriptors_wanted(count: int) -> bool:
    """Whether this process may open ``count`` files, after asking for it; what it starts may then, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= count


@contextmanager
def serving(folder: Path, log: Path, *, descriptors: int | None = None, **env: str) -> Iterator[Target]:
    """Serve the model of ``folder``. ``descriptors``: most that the process may open."""
    command = [str(Path(sys.executable).with_name("edgemodel-serve"))]
    if descriptors is not None:
        command = ["prlimit", f"--nofile={descriptors}", *command]
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "EDGEMODEL_MODEL_DIR": str(folder),
        "EDGEMODEL_LISTEN": "127.0.0.1:0",
        "EDGEMODEL_GRPC_LISTEN": "127.0.0.1:0",
        "EDGEMODEL_ADMIN_LISTEN": "127.0.0.1:0",
        "EDGEMODEL_DRAIN": "0s",
        "EDGEMODEL_SHUTDOWN": "1s",
        # As in the server's image: so that the allocator gives back what is large.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "4194304",
        "MALLOC_TRIM_THRESHOLD_": "16777216",
        **env,
    }
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        ready = _ready(process, log)
        target = Target(process, log, ready["port"], ready["grpc_port"], ready["admin_port"])
        target.news()
        yield target
    finally:
        process.kill()
        process.wait()


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines():
            if line.startswith("{") and '"message": "ready"' in line:
                ready: dict[str, int] = json.loads(line)
                return ready
        assert process.poll() is None, f"the server ended while it started: {log.read_text()}"
        time.sleep(0.02)
    raise AssertionError(f"the server was not ready after {START_SECONDS:.0f} s: {log.read_text()}")
