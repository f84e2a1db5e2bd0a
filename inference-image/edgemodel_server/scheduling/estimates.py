"""How long inferences take and how long a new one would wait; and whether they are short enough for the event loop."""

from collections.abc import Mapping

WEIGHT = 0.2
"""Of the newest measurement, in a moving average."""
LEAP = 8
"""A run counts as at most so many times the average. One that took longer was held up by something else; if it was not,
the next ones show that, too."""
INLINE_SECONDS = 0.0002
"""Handing an inference to a thread and its result back takes about half of this."""
INLINE_TENSOR_BYTES = 16 * 1024
HOLD_UP_SECONDS = 0.002
"""The event loop should not stand still for longer."""
PROOF = 32
"""Short runs, more than others, after which the next one is expected to be short."""
LONGEST_PROOF = 1 << 16


class RunTimes:
    """Seconds that a batch takes, by its rows: moving averages over sizes within a factor of two."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        """``measured`` maps rows to seconds."""
        self._seconds_per_row: dict[int, float] = {}
        for rows, seconds in measured.items():
            self.observe(rows, seconds)

    def observe(self, rows: int, seconds: float) -> None:
        """A batch of ``rows`` took ``seconds``."""
        size = max(rows, 1).bit_length()
        each = seconds / max(rows, 1)
        before = self._seconds_per_row.get(size)
        if before is None:
            self._seconds_per_row[size] = each
        else:
            self._seconds_per_row[size] = before + WEIGHT * (min(each, LEAP * before) - before)

    def of(self, rows: int) -> float:
        """The estimate; for sizes not seen that of the next smaller one seen, or else of the next larger, row by row;
        0 if none was."""
        size = max(rows, 1).bit_length()
        known = self._seconds_per_row
        if size not in known:
            if not known:
                return 0.0
            size = max((other for other in known if other < size), default=min(known))
        return known[size] * rows


def wait(times: RunTimes, rows: int, largest: int, workers: int) -> float:
    """Seconds until ``rows`` that wait or are computed are through, ``workers`` batches of ``largest`` at a time."""
    batches, rest = divmod(rows, largest)
    return (batches * times.of(largest) + (times.of(rest) if rest else 0.0)) / workers


class InlinePolicy:
    """Whether the model may run on the event loop, where it holds up all others.

    What a run will take is not known before, and with some models the client decides it: so permission is earned by
    short runs, lost again by others, and one that held up the loop doubles the number needed.
    """

    def __init__(self) -> None:
        """A policy that has seen no run and permits none."""
        self._earned = 0
        self._proof = PROOF

    def permits(self, size: int) -> bool:
        """Whether inputs of ``size`` bytes may."""
        return self._earned >= self._proof and size <= INLINE_TENSOR_BYTES

    def observe(self, size: int, seconds: float) -> None:
        """Inputs of ``size`` bytes took ``seconds`` of a CPU."""
        if size > INLINE_TENSOR_BYTES:
            return
        if seconds <= INLINE_SECONDS:
            self._earned = min(self._earned + 1, 2 * self._proof)
        elif seconds <= HOLD_UP_SECONDS:
            self._earned = max(self._earned - 1, 0)
        else:
            self._earned = 0
            self._proof = min(self._proof * 2, LONGEST_PROOF)
