"""Progress as shares of the whole: a span is handed down and divided by whoever knows the parts."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Literal, NoReturn

import msgspec

from edgemodel_compressor.errors import OutOfTimeError
from edgemodel_contract.progress import Progress

Step = Literal["Fetching", "Loading", "Measuring", "Compressing", "Evaluating", "Pushing"]
Emit = Callable[[Progress], None]

MIN_ESTIMATED_SHARE = 0.03
MIN_ESTIMATED_SECONDS = 2.0
"""An estimate from less than this much is a guess."""
SOON = 0.001
SILENCE_SECONDS = 4.0
"""Nobody waits longer for a sign of life."""


@dataclass(frozen=True)
class Span:
    """The part of the work from ``start`` to ``end``, both between 0 and 1.

    Whatever takes long reports, and so it is here that the clock is looked at: ``deadline`` is the time by ``clock``
    after which a report ends the work.
    """

    emit: Emit
    start: float = 0.0
    end: float = 1.0
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic

    def report(self, step: Step, message: str, share: float = 0.0) -> None:
        """Say that ``share`` (0 to 1) of this span is done.

        Raises:
            OutOfTimeError: the deadline has passed.
        """
        share = min(max(share, 0.0), 1.0)
        fraction = self.start + (self.end - self.start) * share
        self.emit(Progress(step=step, message=message, fraction=round(fraction, 4)))
        if self.deadline is not None and self.clock() > self.deadline:
            raise OutOfTimeError(message)

    def split(self, *weights: float) -> list["Span"]:
        """Consecutive spans in proportion to ``weights``, the estimated costs."""
        total = sum(weights)
        spans, start = [], self.start
        for weight in weights:
            end = start + (self.end - self.start) * weight / total
            spans.append(replace(self, start=start, end=end))
            start = end
        return spans


@contextmanager
def given_up_in_time(span: Span) -> Iterator[None]:
    """End the work inside at the deadline of ``span``, wherever it is: steps of libraries in Python report nothing.

    What runs in C is ended once it returns. Only in the main thread, and where the system has timers.

    Raises:
        OutOfTimeError: the deadline has passed.
    """
    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if span.deadline is None or not timed:
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise OutOfTimeError("a step that took too long")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(span.deadline - span.clock(), SOON))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def estimating(emit: Emit, clock: Callable[[], float]) -> Emit:
    """``emit`` with an estimate of the time that is left: what was spent, in proportion to what is to be done."""
    began = clock()

    def estimate(progress: Progress) -> None:
        spent, share = clock() - began, progress.fraction
        if share >= MIN_ESTIMATED_SHARE and spent >= MIN_ESTIMATED_SECONDS:
            progress = msgspec.structs.replace(progress, remaining=round(spent * (1 - share) / share, 1))
        emit(progress)

    return estimate


@contextmanager
def never_silent(emit: Emit, silence: float = SILENCE_SECONDS) -> Iterator[Emit]:
    """``emit``; and where nothing new is said for ``silence`` seconds, the last message again, with how long it takes.

    A step inside of a library reports nothing, and may take minutes.
    """
    lock, done = threading.Lock(), threading.Event()
    last: Progress | None = None
    began = said = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal last, began, said
        with lock:
            said = time.monotonic()
            if last is None or progress.message != last.message:
                began = said
            last = progress
            emit(progress)

    def repeat() -> None:
        nonlocal said
        while not done.wait(silence / 4):
            now = time.monotonic()
            with lock:
                if last is not None and now - said >= silence and not done.is_set():
                    said = now
                    emit(msgspec.structs.replace(last, message=f"{last.message} ({now - began:.0f} s so far)"))

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        done.set()
        thread.join()
