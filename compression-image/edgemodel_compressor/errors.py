"""How work ends when it cannot succeed: one reason of the contract and one sentence."""

import errno
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from edgemodel_contract.result import Candidate, FailureReason, Measurement

T = TypeVar("T")
Resource = Literal["memory", "disk space", "memory or disk space"]

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAID: tuple[tuple[str, Resource], ...] = (
    ("bad_alloc", "memory"),
    ("Failed to allocate memory", "memory"),
    ("annot allocate memory", "memory"),
    ("can't allocate memory", "memory"),
    ("No space left on device", "disk space"),
    ("File too large", "disk space"),
    ("Disk quota exceeded", "disk space"),
    # ONNX Runtime, when it cannot write a model.
    ("Protobuf serialization failed", "disk space"),
    ("Failed to write external initializers", "disk space"),
)


class TaskError(Exception):
    """Ends the task. The message is a sentence for people: what, where, and what to do next.

    ``transient`` marks what may pass within seconds (a refused connection, a 503), so that it is tried again.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        transient: bool = False,
        closest: Candidate | None = None,
        original: Measurement | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.message = message
        self.transient = transient
        self.closest = closest
        self.original = original


class NotApplicableError(Exception):
    """A compression method cannot be applied to this model; the message says why, to be used inside a sentence."""


class OutOfTimeError(Exception):
    """The time that a search was given is over: what was not finished is given up."""


class CutShortError(Exception):
    """A file that a tool wrote cannot be read back: it found no room for all of it, on the disk or in memory."""


def exhausted(error: BaseException) -> Resource | None:
    """What ran out, where ``error`` or what it was raised from says so: that says nothing of the file at hand."""
    cause: BaseException | None = error
    while cause is not None:
        found = _ran_out(cause)
        if found is not None:
            return found
        cause = cause.__cause__
    return None


def is_exhausted(error: BaseException) -> bool:
    """Whether memory, disk or quota ran out."""
    return exhausted(error) is not None


@contextmanager
def limits_explained() -> Iterator[None]:
    """Memory or disk space that runs out inside ends the task with one sentence, whatever made of it on its way up.

    Raises:
        TaskError: SourceTooLarge.
    """
    try:
        yield
    except Exception as error:
        lacking = exhausted(error)
        if lacking is None:
            raise
        raise TaskError(
            "SourceTooLarge",
            f"There is not enough {lacking} for this model and dataset; give the Job more of it, or a smaller model.",
        ) from error


@contextmanager
def not_applicable() -> Iterator[None]:
    """Whatever goes wrong inside is about one method or one estimate, and ends no more than that: a NotApplicableError.

    Lack of memory, disk space or time stays what it is, and so does a TaskError.

    Raises:
        NotApplicableError: with a clause that says what was raised, and where.
    """
    try:
        yield
    except (TaskError, NotApplicableError, OutOfTimeError):
        raise
    except Exception as error:  # nothing that a library or an estimate stumbles on may end the work
        if is_exhausted(error):
            raise
        raise NotApplicableError(f"a step of it failed on this graph ({located(error)})") from error


def told(estimate: Callable[[], T], otherwise: T, note: Callable[[str], None]) -> T:
    """What ``estimate`` returns; where it fails, ``otherwise``, and ``note`` is told why, in a clause."""
    try:
        with not_applicable():
            return estimate()
    except NotApplicableError as error:
        note(str(error))
        return otherwise


def unexpected(error: BaseException) -> TaskError:
    """What to say of an error that nothing foresaw: one sentence, with the place that whoever mends it needs."""
    return TaskError(
        "InternalError",
        f"EdgeModel failed in a way that it should not ({located(error)}); please report this line, and where the "
        "model came from, to the project's issue tracker. A model exported anew, or another method, may work.",
    )


def located(error: BaseException) -> str:
    """``cost.py:33, ValueError: …``: where in this program ``error`` came up, what it is and what it says."""
    here = Path(__file__).parent
    place, trace = "", error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(here) and file != Path(__file__):
            place = f"{file.relative_to(here)}:{trace.tb_lineno}, "
        trace = trace.tb_next
    text = first_line(error)
    return f"{place}{type(error).__name__}" + (f": {text}" if text != type(error).__name__ else "")


def crash(number: signal.Signals) -> TaskError:
    """What to say of work that ``number`` ended: the kernel out of memory, or a library that crashed."""
    if number == signal.SIGKILL:
        return TaskError(
            "SourceTooLarge",
            "There is not enough memory for this model and dataset: the work was killed (SIGKILL); give the Job more "
            "of it, or a smaller model.",
        )
    return TaskError(
        "UnsupportedModel",
        f"A library crashed ({number.name}), as it does where there is not enough memory and on a model that it cannot "
        "read; give the Job more memory, export the model anew, or choose another method.",
    )


def _ran_out(error: BaseException) -> Resource | None:
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, CutShortError):
        return "memory or disk space"
    if isinstance(error, OSError):
        return "memory" if error.errno == errno.ENOMEM else "disk space" if error.errno in _DISK else None
    # What C++ libraries raise has no type of its own for it.
    text = "" if isinstance(error, TaskError | NotApplicableError) else str(error)
    return next((resource for words, resource in _SAID if words in text), None)


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first non-empty line of a library's message, at most ``limit`` characters, for use inside a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rstrip(".")
    return text if len(text) <= limit else text[: limit - 1] + "…"
