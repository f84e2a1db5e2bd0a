"""Trying again, with growing pauses, what failed for a reason that may pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """``attempts`` in all; pauses of ``delay`` seconds, doubled each time up to ``max_delay``."""

    attempts: int = 4
    delay: float = 0.5
    max_delay: float = 8.0


def with_retries(attempt: Callable[[], T], policy: RetryPolicy, pause: Callable[[float], None] = time.sleep) -> T:
    """The result of ``attempt``, repeated while it raises an exception whose ``transient`` is true."""
    delay = policy.delay
    for left in reversed(range(policy.attempts)):
        try:
            return attempt()
        except Exception as error:
            if not left or not getattr(error, "transient", False):
                raise
        pause(delay)
        delay = min(2 * delay, policy.max_delay)
    raise AssertionError("a retry policy allows at least one attempt")
