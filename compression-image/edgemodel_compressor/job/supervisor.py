"""The work in a child process, so that a crash of it is a sentence as well.

Where memory runs out, and on some models that no check of ours refuses, libraries in C++ raise nothing: they crash, or
the kernel kills the process. The parent loads none of them and outlives both.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def supervised(work: Callable[[], int], crashed: Callable[[signal.Signals], int]) -> int:
    """The exit code of ``work``, run in a child; of ``crashed``, run here, where a signal ended the child.

    Signals that ask this process to end are handed on, and end the child through every ``finally``. Temporary files
    of the child lie in one folder, which goes with it however it ends. Call it before there are threads.
    """
    scratch = _scratch()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # A signal between the fork and the handlers of both sides waits.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if not child:
        _enter(scratch, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return work()
    asked = _hand_on(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
    if code >= 0:
        return code
    # Asked to end before it could catch anything.
    return 128 - code if -code in asked else crashed(signal.Signals(-code))


def _scratch() -> str | None:
    try:
        return tempfile.mkdtemp(prefix="edgemodel-")
    except OSError:
        # Without a place for temporary files the work cannot go on, and can say so better.
        return None


def _enter(scratch: str | None, parent: int) -> None:
    """Make the child one that ends when it is told to, or when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)
    if scratch is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
    for number in _heard():
        signal.signal(number, _interrupt if number == signal.SIGINT else _terminate)


def _hand_on(child: int) -> set[int]:
    """Send the child what this process is asked; the result fills with what that was."""
    asked: set[int] = set()

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        asked.add(number)
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _heard():
        signal.signal(number, hand_on)
    return asked


def _heard() -> list[signal.Signals]:
    """Those that whoever started this process did not have it ignore, as ``nohup`` and a shell's ``&`` do."""
    return [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]


def _hear_no_more() -> None:
    # A terminal sends its Ctrl-C to parent and child, and the parent hands it on: the second would break the cleaning.
    for asking in FORWARDED:
        signal.signal(asking, signal.SIG_IGN)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Leave through every finally, so that temporary files go too."""
    _hear_no_more()
    raise SystemExit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    _hear_no_more()
    raise KeyboardInterrupt
