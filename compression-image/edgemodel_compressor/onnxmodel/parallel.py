"""Work that overlaps, its results in the order of what they were made of."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """``work`` of each of ``items``. While the caller has one result, the next ``ahead`` are being made, each in a
    thread of its own; with 0, all is done in the caller's thread.

    ``items`` are taken in the caller's thread, and no more of them than that, so that no more results are in memory.
    What ``work`` raises comes where its result would have come. A caller who stops early waits for what has begun.
    """
    if not ahead:
        yield from map(work, items)
        return
    left = iter(items)
    pool = ThreadPoolExecutor(ahead)
    try:
        begun = deque(pool.submit(work, item) for item in islice(left, ahead))
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(work, item) for item in islice(left, 1))
            yield result
            del result
    finally:
        pool.shutdown(cancel_futures=True)
