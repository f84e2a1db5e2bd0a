"""Background processes: found again, never mistaken for another, gone when they should be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.localcluster.errors import ClusterError
from tools.localcluster.system.processes import (
    Daemon,
    Identity,
    boot_id,
    owned_by_this_process,
    stray_processes,
    sweep_orphans,
)
from tools.localcluster.system.shell import wait_for


def test_a_daemon_is_started_once_and_stopped(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", tmp_path)
    assert not daemon.alive
    assert daemon.ensure(["sleep", "300"])
    first = daemon.identity
    assert daemon.alive
    # A second harness process knows it by its record.
    again = Daemon("sleeper", tmp_path)
    assert not again.ensure(["sleep", "300"])
    assert again.identity == first
    again.stop()
    assert not daemon.alive
    assert first is not None
    assert not first.alive()


def test_a_daemon_with_another_command_line_is_replaced(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", tmp_path)
    daemon.ensure(["sleep", "300"])
    first = daemon.identity
    try:
        assert daemon.ensure(["sleep", "301"])
        assert first is not None
        assert not first.alive()
        assert daemon.identity != first
    finally:
        daemon.kill()


def test_a_daemon_that_ended_is_quoted(tmp_path: Path) -> None:
    daemon = Daemon("broken", tmp_path)
    daemon.ensure(["sh", "-c", "echo no such thing >&2; exit 3"])
    wait_for("it to end", lambda: not daemon.alive, 10)
    with pytest.raises(ClusterError, match=r"broken has ended(.|\n)*no such thing"):
        daemon.require_alive()


def test_a_daemon_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    daemon = Daemon("stubborn", tmp_path)
    daemon.ensure(["sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done"])
    wait_for("the trap to be set", lambda: "armed" in daemon.log_tail(), 10)
    identity = daemon.identity
    daemon.stop(grace=0.2)
    assert identity is not None
    assert not identity.alive()


@pytest.mark.parametrize("wrong", ["start", "boot"])
def test_a_recycled_pid_is_neither_alive_nor_killed(tmp_path: Path, wrong: str) -> None:
    bystander = subprocess.Popen(["sleep", "300"])
    try:
        fields = Path(f"/proc/{bystander.pid}/stat").read_text().split()
        boot = boot_id() if wrong == "start" else "another-boot"
        if wrong == "start":
            fields[21] = str(int(fields[21]) - 1)
        record = tmp_path / "pids" / "victim"
        record.parent.mkdir()
        record.write_text(f"fingerprint {boot} {' '.join(fields)}\n")
        daemon = Daemon("victim", tmp_path)
        assert not daemon.alive
        daemon.kill()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Identity.of(child.pid) is None
    child.wait()


def test_a_program_name_with_brackets_and_blanks_is_read_right(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    daemon = Daemon("odd", tmp_path)
    daemon.ensure([program, "300"])
    try:
        wait_for("it to be the program", lambda: daemon.alive, 5)
    finally:
        daemon.kill()
    assert not daemon.alive


def test_a_process_without_its_record_is_found(tmp_path: Path) -> None:
    daemon = Daemon("lost", tmp_path)
    daemon.ensure(["sleep", "300"])
    identity = daemon.identity
    (tmp_path / "pids" / "lost").unlink()
    assert stray_processes(tmp_path) == [identity]
    assert identity is not None
    identity.signal(9)
    wait_for("it to end", lambda: stray_processes(tmp_path) == [], 10)


def test_what_a_killed_owner_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    mine = Daemon("mine", tmp_path)
    mine.ensure(["sleep", "300"], owned_by_this_process())
    try:
        code = (
            "import os, sys; from pathlib import Path\n"
            "from tools.localcluster.system.processes import Daemon, owned_by_this_process\n"
            "Daemon('theirs', Path(sys.argv[1])).ensure(['sleep', '300'], owned_by_this_process())\n"
            "os.kill(os.getpid(), 9)\n"
        )
        root = Path(__file__).parents[3]
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=False)
        theirs = Daemon("theirs", tmp_path)
        assert theirs.alive
        sweep_orphans()
        assert not theirs.alive
        assert mine.alive
    finally:
        mine.kill()
