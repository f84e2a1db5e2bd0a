"""Waiting for what must come true, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 30.0
"""Generous: a busy machine is no reason to fail; what comes true is seen within milliseconds all the same."""
INTERVAL_SECONDS = 0.03


def eventually(
    what: str,
    probe: Callable[[], T | None],
    *,
    seconds: float = DEADLINE_SECONDS,
    explain: Callable[[], str] = lambda: "",
) -> T:
    """Ask ``probe`` until it answers something true; AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}\n{explain()}")
        time.sleep(INTERVAL_SECONDS)


def steady(what: str, probe: Callable[[], T], *, seconds: float) -> T:
    """Ask ``probe`` for ``seconds``; AssertionError as soon as it answers something else than at first."""
    first = probe()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(INTERVAL_SECONDS)
        now = probe()
        assert now == first, f"{what} changed from {first!r} to {now!r}"
    return first
