"""Progress as shares of the whole: a span is handed down and divided by whoever knows the parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgemodel_contract.progress import Progress

Step = Literal["Fetching", "Loading", "Measuring", "Compressing", "Evaluating", "Pushing"]
Emit = Callable[[Progress], None]

LEAST_SHARE = 0.03
LEAST_SECONDS = 2.0
"""An estimate from less than this much is a guess."""


@dataclass(frozen=True)
class Span:
    """The part of the work from ``start`` to ``end``, both between 0 and 1."""

    emit: Emit
    start: float = 0.0
    end: float = 1.0

    def report(self, step: Step, message: str, share: float = 0.0) -> None:
        """Say that ``share`` (0 to 1) of this span is done."""
        share = min(max(share, 0.0), 1.0)
        fraction = self.start + (self.end - self.start) * share
        self.emit(Progress(step=step, message=message, fraction=round(fraction, 4)))

    def split(self, *weights: float) -> list["Span"]:
        """Consecutive spans in proportion to ``weights``, the estimated costs."""
        total = sum(weights)
        spans, start = [], self.start
        for weight in weights:
            end = start + (self.end - self.start) * weight / total
            spans.append(Span(self.emit, start, end))
            start = end
        return spans


def estimating(emit: Emit, clock: Callable[[], float]) -> Emit:
    """``emit`` with an estimate of the time that is left: what was spent, in proportion to what is to be done."""
    began = clock()

    def estimate(progress: Progress) -> None:
        spent, share = clock() - began, progress.fraction
        if share >= LEAST_SHARE and spent >= LEAST_SECONDS:
            progress = msgspec.structs.replace(progress, remaining=round(spent * (1 - share) / share, 1))
        emit(progress)

    return estimate
