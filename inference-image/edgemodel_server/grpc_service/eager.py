"""Coroutines that run at once as far as they can: most calls are answered without the event loop's help."""

import asyncio
import types
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
    return asyncio.get_running_loop().create_task(_go_on(coroutine, waited_for))


async def _go_on(coroutine: Coroutine[Any, Any, None], waited_for: Any) -> None:
    await _rest(coroutine, waited_for)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, None], waited_for: Any) -> Generator[Any, Any, None]:
    while True:
        failure: BaseException | None = None
        value = None
        try:
            value = yield waited_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            failure = error
        try:
            waited_for = coroutine.send(value) if failure is None else coroutine.throw(failure)
        except StopIteration:
            return
