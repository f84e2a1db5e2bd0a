"""Which of the waiting requests to compute next, and whether to wait for more first. Pure: the clock is given."""

from collections import deque
from collections.abc import Hashable
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A request in the queue."""

    @property
    def kind(self) -> Hashable:
        """Requests of the same kind may be computed together; None: this one only alone."""

    @property
    def rows(self) -> int:
        """How much of a batch it fills."""

    @property
    def submitted(self) -> float:
        """When it was submitted, by ``time.perf_counter``."""


W = TypeVar("W", bound=Waiting)


def take(queue: deque[W], limit: int) -> list[W]:
    """Remove the first request and those behind it that can share its batch of at most ``limit`` rows, in order."""
    first = queue.popleft()
    if first.kind is None or first.rows >= limit or not queue:
        return [first]
    batch, rows = [first], first.rows
    passed: deque[W] = deque()
    while queue and rows < limit:
        item = queue.popleft()
        if item.kind == first.kind and rows + item.rows <= limit:
            batch.append(item)
            rows += item.rows
        else:
            passed.append(item)
    queue.extendleft(reversed(passed))
    return batch


def hold(queue: deque[W], limit: int, expected: int, delay: float, now: float) -> float:
    """Seconds for which a free worker should wait for more; 0: compute now.

    ``expected`` is the rows that were on their way when the batch before was taken. A client that always has one
    request out sends the next when the answer comes, so about as many will be here again; who was alone before does not
    wait for company.
    """
    first = queue[0]
    if first.kind is None or expected <= 1:
        return 0.0
    rows = 0
    for item in queue:
        if item.kind == first.kind:
            rows += item.rows
    if rows >= min(expected, limit):
        return 0.0
    return max(0.0, first.submitted + delay - now)


def split(rows: int, largest: int, workers: int) -> list[slice]:
    """Parts of nearly equal size, of at most ``largest`` rows, and at least one per worker, in order."""
    count = min(rows, max(-(-rows // largest), workers))
    if count <= 1:
        return [slice(0, rows)]
    each, more = divmod(rows, count)
    ends = [each * (index + 1) + min(index + 1, more) for index in range(count)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
