"""The work queue: each key at most once in it, at most once in work."""

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_operator.runtime.queue import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, WorkQueue

SOON = 5.0
"""A deadline for what should happen at once; nothing is measured by it."""


async def taken(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), SOON)


async def test_keys_come_in_the_order_in_which_they_were_marked_each_once() -> None:
    queue = WorkQueue[str]()
    for key in "abacb":
        queue.add(key)
    assert len(queue) == 3
    assert [await taken(queue) for _ in range(3)] == ["a", "b", "c"]
    assert len(queue) == 0


async def test_a_key_marked_while_in_work_is_worked_on_once_more_afterwards() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0, "not by two workers at once"
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_worker_waits_for_the_next_key() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("a")
    assert await asyncio.wait_for(waiting, SOON) == "a"


async def test_of_two_delayed_marks_the_earlier_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 3600)
    queue.add_after("a", 0.01)
    queue.add_after("a", 3600)
    assert await taken(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_failures_are_retried_ever_more_slowly_and_a_success_forgets_them() -> None:
    queue = WorkQueue[str]()
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[0] == FIRST_RETRY_SECONDS
    assert all(later == min(2 * earlier, LONGEST_RETRY_SECONDS) for earlier, later in itertools.pairwise(delays))
    assert delays[-1] == LONGEST_RETRY_SECONDS
    assert queue.retry("b") == FIRST_RETRY_SECONDS, "each key for itself"
    queue.forget("a")
    assert queue.retry("a") == FIRST_RETRY_SECONDS
    for _ in range(5000):
        assert queue.retry("a") <= LONGEST_RETRY_SECONDS


async def test_a_retry_comes_after_its_delay_while_the_key_is_in_work() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await taken(queue)
    queue.add_after("a", 0.01)
    again = asyncio.create_task(queue.get())
    await asyncio.sleep(0.05)
    assert not again.done(), "the first worker still has it"
    queue.done("a")
    assert await asyncio.wait_for(again, SOON) == "a"


@pytest.mark.parametrize("workers", [1, 4])
async def test_no_key_is_lost_and_none_is_in_two_hands(workers: int) -> None:
    queue = WorkQueue[int]()
    seen: list[int] = []
    busy: set[int] = set()
    finished = asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            seen.append(key)
            if key < 50 and seen.count(key) == 1:
                queue.add(key)
            busy.discard(key)
            queue.done(key)
            if len(seen) >= 150:
                finished.set()

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    for key in range(100):
        queue.add(key)
    await asyncio.wait_for(finished.wait(), SOON)
    assert all(not task.done() for task in tasks), "no worker failed"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(seen) == sorted([*range(100), *range(50)])


@given(st.lists(st.sampled_from(["add", "get", "done"]), max_size=40))
def test_a_key_is_always_in_one_place(steps: list[str]) -> None:
    """Against the simplest model of it: dirty or not, in work or not."""

    async def run() -> None:
        queue = WorkQueue[str]()
        dirty = working = False
        for step in steps:
            if step == "add":
                queue.add("a")
                dirty = True
            elif step == "get" and dirty and not working:
                assert await taken(queue) == "a"
                dirty, working = False, True
            elif step == "done" and working:
                queue.done("a")
                working = False
            assert len(queue) == int(dirty and not working)

    asyncio.run(run())
