"""A tool as a process of its own: how long it took, what it said, and the memory it needed at most."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "GOMP_SPINCOUNT": "2000",
    "OMP_WAIT_POLICY": "PASSIVE",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""For all of them alike, as our own program has it: threads that wait soon leave the CPU to others."""


@dataclass(frozen=True)
class Run:
    """A process that ended well."""

    seconds: float
    peak: int
    """Bytes that it, or the largest of the processes it started, had in memory at most."""
    output: str


class ToolError(Exception):
    """A tool ended badly; the message is its last word."""


def run(command: Sequence[str | Path], log: Path, pythonpath: Path | None = None) -> Run:
    """Run to the end. What the tool says on standard error goes to ``log``.

    Raises:
        ToolError: its exit code is not 0.
    """
    environment = os.environ | ENVIRONMENT | ({"PYTHONPATH": str(pythonpath)} if pythonpath else {})
    log.parent.mkdir(parents=True, exist_ok=True)
    output = log.with_suffix(".out")
    with log.open("wb") as errors, output.open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=errors, env=environment)
        try:
            # Not process.wait(): only wait4 tells what this one child needed.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "no word"
        raise ToolError(f"exit code {process.returncode}: {last} (see {log})")
    return Run(seconds, usage.ru_maxrss * 1024, output.read_text(errors="replace"))
