"""How work ends when it cannot succeed: one reason of the contract and one sentence."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from edgemodel_contract.result import Candidate, FailureReason, Measurement

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
