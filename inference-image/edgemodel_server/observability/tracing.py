"""The request that is traced, as the rest of the server sees it: its phases, and how another server continues it.

Nothing here imports OpenTelemetry: ``spans`` does, which ``tracing_setup`` imports where traces are on.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol


class TracedRequest(Protocol):
    """A request that has a span."""

    def phases(self, timings: Sequence[tuple[str, float]]) -> None:
        """Names and seconds of what was done for it, one after the other, the last of which ended right now."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers by which another server continues its trace."""


current: ContextVar[TracedRequest | None] = ContextVar("traced_request", default=None)
"""The request that this task, or the one that made it, answers."""


def record_phases(timings: Sequence[tuple[str, float]]) -> None:
    """As ``TracedRequest.phases``, of the current request if it is traced."""
    request = current.get()
    if request is not None:
        request.phases(timings)


def trace_headers() -> list[tuple[bytes, bytes]]:
    """As ``TracedRequest.headers``, of the current request; none where it is not traced."""
    request = current.get()
    return [] if request is None else request.headers()
