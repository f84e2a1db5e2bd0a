"""Coroutines that run at once as far as they can: most calls are answered without a task of their own."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def start(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
    """Run ``coroutine`` until it waits; None if it did not, or else the task that goes on with it.

    Its first part runs outside of that task, so it must not ask for the current one, as ``asyncio.timeout`` does.
    """
    try:
        waited_for = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_Rest(coroutine, waited_for))


class _Rest(Coroutine[Any, Any, None]):
    """What is left of a coroutine that waits for a future already."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waited_for: "asyncio.Future[Any] | None") -> None:
        self._coroutine = coroutine
        self._first = True
        self._waited_for = waited_for

    def send(self, value: Any) -> Any:
        """At first, what is waited for."""
        if self._first:
            self._first = False
            return self._waited_for
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """The task was cancelled, or what was waited for failed."""
        if self._first and self._waited_for is not None:
            # The task, which would cancel it, does not know of it yet.
            self._waited_for.cancel()
        self._first = False
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Nobody goes on with it."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        """As the coroutine's."""
        return self._coroutine.__await__()
