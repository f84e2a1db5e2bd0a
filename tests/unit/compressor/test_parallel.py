"""Work that overlaps: the order of its results, how much is under way, and how it ends."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgemodel_compressor.onnxmodel.parallel import in_order
from edgemodel_compressor.onnxmodel.runtime import Feed, Session
from tests.unit.compressor.builders import have_cpus

PATIENCE = 30
"""Seconds; a test that waits as long has failed."""


class Counted:
    """Items 0, 1, 2 …, and how many were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __iter__(self) -> Iterator[int]:
        for item in range(self.count):
            self.taken += 1
            yield item


@pytest.mark.parametrize("ahead", [0, 1, 3, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_results_come_in_the_order_of_the_items(count: int, ahead: int) -> None:
    def work(item: int) -> int:
        # Those that begin first take longest.
        time.sleep(0.002 * (count - item) / 20)
        return item * item

    assert list(in_order(work, range(count), ahead)) == [item * item for item in range(count)]


def test_so_many_are_under_way_at_once() -> None:
    meeting = threading.Barrier(3)
    assert list(in_order(lambda _: meeting.wait(PATIENCE) >= 0, range(9), 3)) == [True] * 9


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_are_taken_than_are_under_way(ahead: int) -> None:
    items = Counted(10)
    for index, _ in enumerate(in_order(lambda item: item, items, ahead)):
        assert items.taken == min(index + 1 + ahead, 10)


def test_nothing_begins_before_the_first_is_asked_for() -> None:
    items = Counted(3)
    in_order(lambda item: item, items, 2)
    assert items.taken == 0


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_exception_comes_in_the_place_of_its_result(ahead: int) -> None:
    def work(item: int) -> int:
        if item == 4:
            raise MemoryError("four")
        return item

    results = in_order(work, range(10), ahead)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(MemoryError, match="four"):
        next(results)


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_exception_of_the_items_ends_it(ahead: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        list(in_order(lambda item: item, items(), ahead))


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    items = Counted(100)
    for result in in_order(lambda item: item, items, 3):
        if result == 5:
            break
    assert threading.active_count() == before
    assert items.taken == 9


@pytest.mark.parametrize(("cpus", "threads", "ahead"), [(1, 1, 0), (2, 1, 2), (2, 2, 0), (3, 2, 0), (64, 1, 4)])
def test_a_model_runs_as_often_at_once_as_there_are_cpus_for(
    shared: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, threads: int, ahead: int
) -> None:
    have_cpus(monkeypatch, cpus)
    session = Session(shared / "mlp.onnx", threads)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.normal(size=(1, 48)).astype(np.float32)} for _ in range(20)]
    taken = 0

    def watched() -> Iterator[Feed]:
        nonlocal taken
        for feed in feeds:
            taken += 1
            yield feed

    for index, outputs in enumerate(session.run_each(watched())):
        assert taken == min(index + 1 + ahead, 20)
        assert outputs[0].tobytes() == session.run(feeds[index])[0].tobytes()
    assert taken == 20
