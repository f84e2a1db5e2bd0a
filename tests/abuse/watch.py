"""Judges what an attack did to the others: how long they waited, what the server's memory grew by, what it logged."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.abuse.neighbours import Wait
from tests.abuse.server import Target

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Seconds that a neighbour and a question to the admin port may wait, beyond so many times what the machine itself
    made the control wait; and by how many bytes memory may be above what an idle server has."""

    neighbour: float
    admin: float
    control_factor: float
    memory: int = 64 * MIB


STRICT = Limits(neighbour=0.25, admin=0.1, control_factor=2)
"""What is promised."""
WIDE = Limits(neighbour=5.0, admin=5.0, control_factor=10)
"""For a machine that does other things at the same time: a server that stalls takes longer still."""


class Neighbours:
    """The process of the other clients."""

    def __init__(self, target: Target, kind: str) -> None:
        """Start it, and wait until each client has been answered. ``kind``: of what is served, see ``neighbours``."""
        self._control = _start("control")
        assert self._control.stdout
        control_port = int(self._control.stdout.readline())
        ports = (target.port, target.grpc_port, target.admin_port, control_port)
        self._process = _start("neighbours", *map(str, ports), kind)
        self.wait_until_served()

    def report(self) -> dict[str, Wait]:
        """Since the last report."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {name: Wait(**wait) for name, wait in json.loads(self._process.stdout.readline()).items()}

    def wait_until_served(self) -> None:
        """Return when each client has been answered anew, as by a server that nobody attacks."""
        answered: set[str] = set()
        deadline = time.monotonic() + 120
        while len(answered) < 4:
            assert time.monotonic() < deadline, f"only {answered} were answered by the quiet server"
            answered |= {name for name, wait in self.report().items() if wait.count and wait.worst < 1}
            time.sleep(0.1)

    def end(self) -> None:
        """Stop it."""
        for process in (self._process, self._control):
            process.kill()
            process.communicate()


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"tests.abuse.{module}", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@dataclass
class Watch:
    """A server, its neighbours and what they are held to."""

    target: Target
    neighbours: Neighbours
    limits: Limits
    say: Callable[[str], None] = print
    idle: int = field(init=False)
    """Resident bytes after the first requests were answered."""

    def __post_init__(self) -> None:
        """Take the memory that is needed when nothing goes on."""
        self.idle = self.target.memory()

    @contextmanager
    def attack(self, *, spared: tuple[str, ...] = ("REST", "gRPC", "admin"), memory: int = 0) -> Iterator[None]:
        """Judge what happens inside. ``spared``: who may notice nothing; ``memory``: bytes that the attack may hold by
        right, such as bodies within the limit for all of them."""
        # What the attack before left behind is not this one's: others still waiting, and memory that the allocator
        # kept, which ``judge_what_is_kept`` counts once.
        self.neighbours.wait_until_served()
        before = max(self.idle, self.target.memory())
        self.target.forget_peak()
        self.neighbours.report()
        yield
        # Whoever was held up still waits, and is asked again: a moment is enough, for a wait counts as it goes on.
        time.sleep(0.3)
        waits = self.neighbours.report()
        grown = self.target.peak() - before
        news = self.target.news()
        self.say(_summary(waits, grown))
        assert self.target.is_alive(), f"the server ended: {news[-20:]}"
        faults = [line for line in news if "Traceback" in line]
        assert not faults, f"the server failed: {faults[0][:3000]}"
        allowed = self.limits.memory + memory
        assert grown <= allowed, f"memory grew by {grown / MIB:.0f} MiB, {allowed / MIB:.0f} are allowed"
        slack = self.limits.control_factor * waits["control"].worst
        for name in spared:
            wait = waits[name]
            assert not wait.errors, f"{name}: {wait.errors[:3]}"
            limit = (self.limits.admin if name == "admin" else self.limits.neighbour) + slack
            assert wait.worst <= limit, f"{name} waited {wait.worst:.3f} s, {limit:.3f} s are allowed"

    def judge_what_is_kept(self, memory: int) -> None:
        """After all attacks no more than ``memory`` bytes are held above what an idle server has."""
        kept = self.target.memory() - self.idle
        assert kept <= memory, f"the idle server keeps {kept / MIB:.0f} MiB"


def _summary(waits: dict[str, Wait], grown: int) -> str:
    figures = ", ".join(
        f"{name} {1000 * wait.worst:.0f} ms of {wait.count}{f' ({len(wait.errors)} errors)' if wait.errors else ''}"
        for name, wait in waits.items()
    )
    return f"longest waits: {figures}; memory {grown / MIB:+.0f} MiB"
