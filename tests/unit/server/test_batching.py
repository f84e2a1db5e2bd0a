"""Which requests share a batch, how long they wait for it, and how a large one is split."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_server.scheduling.batching import hold, split, take
from edgemodel_server.scheduling.estimates import (
    HOLD_UP_SECONDS,
    INLINE_SECONDS,
    INLINE_TENSOR_BYTES,
    PROOF,
    InlinePolicy,
    RunTimes,
    wait,
)


@dataclass(frozen=True)
class Item:
    rows: int
    kind: str | None = "a"
    submitted: float = 0.0
    name: int = 0


items = st.lists(st.builds(Item, st.integers(1, 9), st.sampled_from(["a", "b", None]), name=st.integers()), min_size=1)


@given(items, st.integers(1, 16))
def test_a_batch_is_of_one_kind_within_the_limit_and_everything_keeps_its_order(
    given_items: list[Item], limit: int
) -> None:
    queue = deque(given_items)
    batch = take(queue, limit)
    assert batch[0] is given_items[0]
    assert len(batch) == 1 or sum(item.rows for item in batch) <= limit
    assert len(batch) == 1 or {item.kind for item in batch} == {batch[0].kind} != {None}
    assert list(queue) == [item for item in given_items if not any(item is taken for taken in batch)]


def test_what_fits_is_taken_from_behind_what_does_not() -> None:
    queue = deque([Item(1), Item(1, "b"), Item(9), Item(2)])
    assert take(queue, 4) == [Item(1), Item(2)]
    assert list(queue) == [Item(1, "b"), Item(9)]


@pytest.mark.parametrize(
    ("queue", "expected", "now", "seconds"),
    [
        ([Item(1)], 1, 0.0, 0.0),
        ([Item(1)], 4, 0.0, 0.002),
        ([Item(1)], 4, 0.0015, pytest.approx(0.0005)),
        ([Item(1)], 4, 0.003, 0.0),
        ([Item(2), Item(2)], 4, 0.0, 0.0),
        ([Item(8), Item(8)], 64, 0.0, 0.0),
        ([Item(1), Item(8, "b")], 4, 0.0, 0.002),
        ([Item(1, None)], 4, 0.0, 0.0),
    ],
    ids=["alone before", "more to come", "some time over", "all time over", "all here", "full", "other kind", "none"],
)
def test_a_worker_waits_only_for_as_many_as_came_before(
    queue: list[Item], expected: int, now: float, seconds: float
) -> None:
    assert hold(deque(queue), 16, expected, 0.002, now) == seconds


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 8))
def test_parts_cover_all_rows_in_order_and_nearly_equally(rows: int, largest: int, workers: int) -> None:
    parts = split(rows, largest, workers)
    assert parts[0].start == 0
    assert parts[-1].stop == rows
    assert all(before.stop == after.start for before, after in pairwise(parts))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) <= largest or rows == 0
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) >= min(workers, rows)


def test_times_are_moving_averages_by_size() -> None:
    times = RunTimes({1: 0.010, 8: 0.040})
    assert times.of(1) == pytest.approx(0.010)
    assert times.of(2) == pytest.approx(0.020)
    assert times.of(8) == times.of(9) * 8 / 9 == pytest.approx(0.040)
    assert times.of(100) == pytest.approx(0.5)
    for _ in range(50):
        times.observe(1, 0.030)
    assert times.of(1) == pytest.approx(0.030, rel=0.01)
    assert times.of(8) == pytest.approx(0.040)
    assert RunTimes({}).of(3) == 0


def test_a_run_that_was_held_up_says_little_of_the_next() -> None:
    times = RunTimes({1: 0.001})
    times.observe(1, 5.0)
    assert times.of(1) < 0.003
    for _ in range(100):
        times.observe(1, 5.0)
    assert times.of(1) == pytest.approx(5.0, rel=0.01)


def test_the_wait_is_for_all_that_is_ahead_over_all_workers() -> None:
    times = RunTimes({1: 0.010, 4: 0.020})
    assert wait(times, 0, 4, 1) == 0
    assert wait(times, 9, 4, 1) == pytest.approx(0.050)
    assert wait(times, 9, 4, 2) == pytest.approx(0.025)


def test_running_inline_is_permitted_after_short_runs_and_forbidden_after_long_ones() -> None:
    def earned(runs: int) -> bool:
        for _ in range(runs):
            policy.observe(100, INLINE_SECONDS)
        return policy.permits(100)

    policy = InlinePolicy()
    assert not earned(PROOF - 1)
    assert earned(1)
    assert not policy.permits(INLINE_TENSOR_BYTES + 1)
    policy.observe(INLINE_TENSOR_BYTES + 1, 1.0)
    policy.observe(100, HOLD_UP_SECONDS)
    assert not policy.permits(100)
    assert earned(PROOF)
    policy.observe(100, HOLD_UP_SECONDS * 2)
    assert not earned(2 * PROOF - 1)
    assert earned(1)
