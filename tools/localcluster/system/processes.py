"""Background processes that outlive their starter: each one writes its own record before it becomes the program.

The record holds the machine's boot id, the pid and the pid's start time, so that a recycled pid is never taken
for ours, and no process exists without a record, whenever its starter is killed.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.system.shell import environment, run, wait_for

# In the environment of all that we start; `stray_processes` finds by it what lost its record.
MARKER = "EDGEMODEL_CLUSTER"
# In the environment of what must not outlive the process that started it; the value is that process' identity.
OWNER = "EDGEMODEL_OWNER"

# sh becomes the program by exec, so the pid and start time that it writes stay true.
_LAUNCH = """
read -r boot < /proc/sys/kernel/random/boot_id
read -r stat < /proc/$$/stat
echo "$2 $boot $stat" > "$1"
for group in $3; do echo $$ > "$group/cgroup.procs" || exit 1; done
shift 3
exec "$@"
"""


def boot_id() -> str:
    """Changes with every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Identity:
    """A process, told from a later one that got the same pid."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The living process `pid`; None where there is none or only a zombie is left."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, start = _parse_stat(stat)
        return None if state in "ZX" else cls(pid, start, boot_id())

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal to this process and never to a successor in its pid."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor is of whatever has the pid now: only after this check is it ours.
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        finally:
            os.close(handle)


def _parse_stat(stat: str) -> tuple[str, int]:
    # The second field is the program's name in brackets and may itself hold blanks and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


class Daemon:
    """A named background process: its record and log lie in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._record = folder / "pids" / name

    @property
    def identity(self) -> Identity | None:
        """The process that was started last, alive or not; None before the first start."""
        recorded = self._recorded()
        return recorded[1] if recorded else None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        identity = self.identity
        return identity is not None and identity.alive()

    def runs(self, command: Sequence[str | Path]) -> bool:
        """Whether it runs, and was started with this very command line."""
        recorded = self._recorded()
        return recorded is not None and recorded[0] == _fingerprint(command) and recorded[1].alive()

    def ensure(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cgroups: Iterable[Path] = ()
    ) -> bool:
        """Start it unless it runs already with this command line; returns whether it was started.

        A process that runs with another one (the programs or their options have changed since) is stopped first.

        Args:
            cgroups: folders of control groups that it is put into before it becomes `command`.

        Raises:
            ClusterError: it did not come to life.
        """
        if self.runs(command):
            return False
        self.stop()
        for folder in (self.log.parent, self._record.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            groups = " ".join(str(group) for group in cgroups)
            full = ["setsid", "--fork", "sh", "-c", _LAUNCH, "sh", str(self._record), _fingerprint(command), groups]
            full += map(str, command)
            pid = os.posix_spawnp(
                full[0],
                full,
                environment({**(env or {}), MARKER: str(self._record.parent.parent)}),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                ],
            )
            os.waitpid(pid, 0)
        wait_for(f"{self.name} to start (see {self.log})", lambda: self.identity is not None, 10, 0.01)
        return True

    def _recorded(self) -> tuple[str, Identity] | None:
        """The fingerprint of the command line and the process; None before the first start and after a stop."""
        try:
            text = self._record.read_text()
        except FileNotFoundError:
            return None
        if not text.endswith("\n"):
            return None
        fingerprint, boot, stat = text.split(" ", 2)
        _, start = _parse_stat(stat)
        return fingerprint, Identity(int(stat.split()[0]), start, boot)

    def require_alive(self) -> None:
        """Raise ClusterError with the log's last lines when it has ended."""
        if not self.alive:
            raise ClusterError(f"{self.name} has ended; the last lines of {self.log}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 12) -> str:
        """The last lines it wrote."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.stop(grace=0)

    def stop(self, grace: float = 10) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; returns when it is gone and its record too."""
        identity = self.identity
        if identity is not None:
            terminate([identity], grace)
        self._record.unlink(missing_ok=True)


def _fingerprint(command: Sequence[str | Path]) -> str:
    return hashlib.sha256("\0".join(map(str, command)).encode()).hexdigest()[:16]


def terminate(identities: Iterable[Identity], grace: float) -> None:
    """End processes: SIGTERM to all, SIGKILL to those that run on after `grace` seconds in all."""
    living = [identity for identity in identities if identity.alive()]
    if grace > 0:
        for identity in living:
            identity.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while living and time.monotonic() < deadline:
        time.sleep(0.02)
        living = [identity for identity in living if identity.alive()]
    for identity in living:
        identity.signal(signal.SIGKILL)
    wait_for("killed processes to end", lambda: not any(identity.alive() for identity in living), 30, 0.01)


def stray_processes(folder: Path) -> list[Identity]:
    """Living processes that were started for the cluster in `folder`, whatever became of their records."""
    wanted = f"{MARKER}={folder}".encode()
    return [identity for identity, variables in environments() if wanted in variables]


def environments() -> Iterator[tuple[Identity, list[bytes]]]:
    """Every living process that we may look into, with its environment as it was at its start."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        identity = Identity.of(int(entry.name))
        if identity is not None:
            yield identity, variables


def owned_by_this_process() -> dict[str, str]:
    """The variable that hands a new daemon to this process; see `sweep_orphans`."""
    own = Identity.of(os.getpid())
    assert own is not None
    return {OWNER: f"{own.pid} {own.start} {own.boot}"}


def sweep_orphans() -> None:
    """Kill the daemons whose owner was itself killed before it could stop them."""
    prefix = f"{OWNER}=".encode()
    orphans = []
    for identity, variables in environments():
        for variable in variables:
            if variable.startswith(prefix):
                pid, start, boot = variable[len(prefix) :].decode().split()
                if not Identity(int(pid), int(start), boot).alive():
                    orphans.append(identity)
    terminate(orphans, grace=0)


def pids_in(cgroup: Path) -> list[Identity]:
    """Living processes in a control group and those below it."""
    found = []
    for procs in cgroup.rglob("cgroup.procs"):
        try:
            pids = procs.read_text().split()
        except OSError:
            continue
        found += [identity for pid in pids if (identity := Identity.of(int(pid))) is not None]
    return found


def in_namespaces(holder: Identity, netns: str) -> list[str]:
    """The prefix of a command line that runs in `holder`'s mount namespace and the named network namespace.

    Not `ip netns exec`: it remounts /sys and with that loses the cgroup mounts.
    """
    return ["nsenter", f"--net=/run/netns/{netns}", f"--mount=/proc/{holder.pid}/ns/mnt", "--"]


def command_line(identity: Identity) -> str:
    """The command line of a living process, for people to read."""
    done = run("ps", "-o", "args=", "-p", str(identity.pid), check=False)
    return done.stdout.strip()
