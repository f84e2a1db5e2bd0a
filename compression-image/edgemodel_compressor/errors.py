"""How work ends when it cannot succeed: one reason of the contract and one sentence."""

import errno

from edgemodel_contract.result import Candidate, FailureReason, Measurement


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


def is_exhausted(error: BaseException) -> bool:
    """Whether memory, disk or quota ran out: that says nothing of the file that was being read or written."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
    return full or isinstance(error, MemoryError)


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first non-empty line of a library's message, at most ``limit`` characters, for use inside a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rstrip(".")
    return text if len(text) <= limit else text[: limit - 1] + "…"
