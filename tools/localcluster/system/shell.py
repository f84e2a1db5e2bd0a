"""Runs programs: output captured, a deadline always, and an error that carries the last lines."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.localcluster.errors import ClusterError, CommandFailedError

# Debian keeps iptables, ip and nsenter where a plain user's PATH does not look.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the system folders on PATH and `extra` on top."""
    env = dict(os.environ)
    env["PATH"] = f"{env.get('PATH', '')}:{SYSTEM_PATH}".lstrip(":")
    env.update(extra or {})
    return env


def run(
    *args: str | Path,
    input: str | None = None,
    check: bool = True,
    timeout: float = 120,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Args:
        input: text for its standard input; empty when absent.
        check: raise CommandFailedError when it ends with another code than 0; a program that is not there
            ends with 127, as in a shell.
        timeout: seconds after which it is killed.
        env: added to this process's environment.

    Raises:
        CommandFailedError: it failed or could not be found (and `check`).
        ClusterError: it ran over its time.
    """
    command = tuple(str(arg) for arg in args)
    try:
        done = subprocess.run(
            command,
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            cwd=cwd,
            env=environment(env),
        )
    except FileNotFoundError:
        done = subprocess.CompletedProcess(command, 127, "", f"{command[0]}: not found")
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(command)}` took longer than {timeout:.0f} s and was stopped.") from error
    if check and done.returncode != 0:
        raise CommandFailedError(command, done.returncode, done.stderr or done.stdout)
    return done


def wait_for(what: str, condition: Callable[[], bool], timeout: float, interval: float = 0.1) -> None:
    """Ask `condition` until it is true; ClusterError names `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"Waited {timeout:.0f} s for {what} in vain.")
        time.sleep(interval)


def stream(
    args: Sequence[str | Path],
    on_line: Callable[[str], None],
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long program; every output line goes to `log` and to `on_line`.

    The child dies with an interrupted parent (KeyboardInterrupt included), so nothing keeps compiling unseen.
    """
    command = tuple(str(arg) for arg in args)
    with log.open("a", encoding="utf-8") as sink:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment(env),
            start_new_session=True,
        )
        assert child.stdout is not None
        try:
            for line in child.stdout:
                sink.write(line)
                on_line(line.rstrip("\n"))
            returncode = child.wait()
        except BaseException:
            os.killpg(child.pid, 15)
            child.wait()
            raise
    if returncode != 0:
        raise CommandFailedError(command, returncode, log.read_text(errors="replace")[-4000:])
