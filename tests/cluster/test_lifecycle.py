"""Up, mend, down: the harness survives what happens to it and leaves nothing behind.

These tests take the machine's local cluster down and bring it up again; they come before the e2e tests by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tools import localcluster as cluster
from tools.localcluster.native.leftovers import leftovers
from tools.localcluster.system.paths import state_dir
from tools.localcluster.system.shell import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.native]


@pytest.fixture(autouse=True)
def here() -> Iterator[cluster.Cluster]:
    """A healthy native cluster before each test, and after it whatever the test did."""
    up = cluster.up()
    if up.provider != "native":
        pytest.fail(f"These tests are about processes of this machine, not about {up.provider}: use -m 'not native'.")
    yield up
    assert cluster.up().problems() == []


def test_down_leaves_nothing_and_up_starts_afresh(here: cluster.Cluster) -> None:
    here.kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "of-the-first-life"}})
    here.site("site-b").cut()
    assert leftovers(state_dir()) != []
    cluster.down()
    assert leftovers(state_dir()) == []
    assert _status().returncode == 2
    cluster.down()
    again = cluster.up()
    assert again.problems() == []
    assert again.kubectl("get", "namespace", "of-the-first-life", check=False).returncode != 0


def test_up_mends_whatever_was_killed(here: cluster.Cluster) -> None:
    here.kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "of-this-life"}})
    victims = [process for process in here.processes() if process.pid is not None]
    for process in victims[::2]:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    wait_for("the killed to be missed", lambda: here.problems() != [], 20)
    assert _status().returncode == 1
    mended = cluster.up()
    assert _status().returncode == 0
    assert mended.problems() == []
    mended.kubectl("delete", "namespace", "of-this-life")


def test_up_goes_on_after_it_was_killed_again_and_again() -> None:
    cluster.down()
    deaths = 0
    # What an earlier one got done is not done again, so how many actions are left varies with where it was killed.
    while _up_killed_after(6 + 20 * deaths):
        deaths += 1
    assert deaths >= 3
    assert cluster.up().problems() == []


def test_down_works_after_up_was_killed_halfway() -> None:
    cluster.down()
    assert _up_killed_after(40)
    assert leftovers(state_dir()) != []
    cluster.down()
    assert leftovers(state_dir()) == []


def test_down_finds_processes_whose_records_are_lost(here: cluster.Cluster) -> None:
    assert here.processes()
    for record in state_dir().rglob("pids/*"):
        record.unlink()
    cluster.down()
    assert leftovers(state_dir()) == []


def test_state_of_an_earlier_boot_is_forgotten(here: cluster.Cluster) -> None:
    assert here.provider == "native"
    # After a reboot: files of the old boot, and nothing that they speak of.
    kept = {name: (state_dir() / name).read_bytes() for name in ("config.json", "boot-id", "control-plane/ports.json")}
    cluster.down()
    for name, content in kept.items():
        path = state_dir() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if name != "boot-id" else b"another boot")
    assert cluster.up().problems() == []


def test_another_shape_is_refused_while_one_is_up(here: cluster.Cluster) -> None:
    sites = len(here.sites) + 1
    with pytest.raises(cluster.ClusterError, match=r"run `python -m tools\.localcluster down` before"):
        cluster.up(cluster.ClusterConfig(sites=sites))


def test_two_ups_at_once_make_one_cluster() -> None:
    cluster.down()
    command = [sys.executable, "-m", "tools.localcluster", "up"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + 300
    assert [each.wait(timeout=max(1, deadline - time.monotonic())) for each in both] == [0, 0]


def _status() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.localcluster", "status", "--json"], capture_output=True, text=True
    )


def _up_killed_after(actions: int) -> bool:
    """Whether `up` was killed; if not, it needed fewer actions and came to its end."""
    child = subprocess.run([sys.executable, "-c", _MORTAL_UP, str(actions)], stderr=subprocess.PIPE, text=True)
    assert child.returncode in (-signal.SIGKILL, 0), child.stderr
    return child.returncode != 0


# `up` that kills itself after so many programs it ran and daemons it started.
_MORTAL_UP = """
import os, signal, subprocess, sys

left = int(sys.argv[1])

def mortal(function):
    def call(*args, **kwargs):
        global left
        result = function(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

subprocess.run = mortal(subprocess.run)
os.posix_spawnp = mortal(os.posix_spawnp)

from tools import localcluster as cluster
cluster.up()
"""
