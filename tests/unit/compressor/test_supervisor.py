"""What ends the work from outside: a crash, the kernel, a signal to the parent or its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemodel_contract.encoding import encode
from edgemodel_contract.result import Failure, decode_result
from edgemodel_contract.task import Source, Task
from tests.unit.compressor.test_process import DEADLINE, wait_until

PROGRAM = """
import os, pathlib, signal, sys, tempfile, time
from edgemodel_compressor import __main__ as program

def work():
    pathlib.Path(tempfile.gettempdir(), "half").write_text(str(os.getpid()))
    number = int(sys.argv[1])
    if number:
        os.kill(os.getpid(), number)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        # Cleaning, into which the second signal falls.
        time.sleep(0.5)
        sys.exit(130)

supervised = program.supervised
program.supervised = lambda _, crashed: supervised(work, crashed)
sys.exit(program.main(sys.argv[2:]))
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def hanging(tmp_path: Path, scratch: Path) -> Iterator["subprocess.Popen[str]"]:
    """A program whose work has begun, and does not end."""
    process = start(0, scratch, "model.onnx", "-o", str(tmp_path / "out"))
    try:
        wait_until(lambda: any(file.read_text() for file in scratch.rglob("half")))
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)


def start(number: int, scratch: Path, *words: str, ignored: tuple[signal.Signals, ...] = ()) -> "subprocess.Popen[str]":
    """The program, whose work is to send itself the signal ``number``, started with some ignored."""

    def prepare() -> None:
        for each in (signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN if each in ignored else signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(number), *words],
        env={**os.environ, "TMPDIR": str(scratch), "EDGEMODEL_TERMINATION_LOG": str(scratch.parent / "log")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT"), (signal.SIGKILL, "There is not enough memory")],
)
def test_a_crash_at_the_desk_is_one_sentence_and_no_output(
    tmp_path: Path, scratch: Path, number: signal.Signals, said: str
) -> None:
    process = start(number, scratch, "model.onnx", "-o", str(tmp_path / "out"))
    output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (2, "")
    assert len(errors.splitlines()) == 1
    assert said in errors
    assert not (tmp_path / "out").exists()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, "UnsupportedModel"), (signal.SIGKILL, "SourceTooLarge")]
)
def test_a_crash_of_a_job_is_its_result(tmp_path: Path, scratch: Path, number: signal.Signals, reason: str) -> None:
    task = Task(name="digits", model=Source(uri="https://models/m.onnx"), base_image="b", repository="r", engine="e")
    (tmp_path / "task.json").write_bytes(encode(task))
    process = start(number, scratch, "--task", str(tmp_path / "task.json"))
    output, errors = process.communicate(timeout=DEADLINE)
    result = decode_result((tmp_path / "log").read_text())
    assert isinstance(result, Failure)
    assert (process.returncode, result.task, result.reason) == (2, task.digest, reason)
    assert output.splitlines()[-1] == (tmp_path / "log").read_text()
    assert errors == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_work_ends_when_the_program_is_asked_to(
    hanging: "subprocess.Popen[str]", scratch: Path, number: signal.Signals, code: int
) -> None:
    hanging.send_signal(number)
    _, errors = hanging.communicate(timeout=DEADLINE)
    assert (hanging.returncode, errors) == (code, "")
    assert list(scratch.iterdir()) == []


def test_ctrl_c_reaches_parent_and_child_and_ends_both_once(hanging: "subprocess.Popen[str]", scratch: Path) -> None:
    worker = int(next(scratch.rglob("half")).read_text())
    os.kill(worker, signal.SIGINT)
    hanging.send_signal(signal.SIGINT)
    _, errors = hanging.communicate(timeout=DEADLINE)
    assert (hanging.returncode, errors) == (130, "")
    assert list(scratch.iterdir()) == []


def test_what_nohup_has_it_ignore_stays_ignored(tmp_path: Path, scratch: Path) -> None:
    out = str(tmp_path / "out")
    process = start(signal.SIGHUP, scratch, "model.onnx", "-o", out, ignored=(signal.SIGHUP,))
    try:
        wait_until(lambda: any(file.read_text() for file in scratch.rglob("half")))
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    # It lived to be ended by the second.
    assert process.returncode == 143


def test_work_does_not_outlive_a_program_that_was_killed(hanging: "subprocess.Popen[str]", scratch: Path) -> None:
    worker = int(next(scratch.rglob("half")).read_text())
    hanging.kill()
    # Its pipes are the child's too, and end with it.
    hanging.communicate(timeout=DEADLINE)
    wait_until(lambda: not Path(f"/proc/{worker}").exists() or "\nState:\tZ" in status(worker))


def status(process: int) -> str:
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return "\nState:\tZ"
