"""The scheduler over real models: batches, parts, deadlines, callers that leave."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgemodel_server.errors import BadRequestError, DeadlineError, DeadlineUnattainableError, ModelFailedError
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.engine import Engine, Stop
from edgemodel_server.model.folder import open_folder
from edgemodel_server.model.rows.proof import Proof
from edgemodel_server.model.warm_up import Profile
from edgemodel_server.observability.metrics import Metrics
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.jobs import Result
from edgemodel_server.scheduling.scheduler import Scheduler
from edgemodel_server.scheduling.sharing import Batching
from tests.unit.server.builders import countdown, mlp, picky_lookup, write_folder

FAR = 60.0


def engine_of(folder: Path, model: onnx.ModelProto, workers: int = 1) -> Engine:
    return Engine(open_folder(write_folder(folder, model)), Parallelism(threads=1, workers=workers, spinning=False))


class Spy:
    """An engine that tells what it was asked, and computes only when allowed to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rows: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.stops: list[Stop] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, inputs: dict[str, Array], outputs: Sequence[str], stop: Stop | None = None) -> list[Array]:
        self.rows.append(next(iter(inputs.values())).shape[0])
        self.begun.set()
        assert self.go.wait(30)
        return self._engine.run(inputs, outputs, stop)


@asynccontextmanager
async def scheduling(
    engine: Any, profile: Profile, *, workers: int = 1, size: int = 8, delay: float = 0.0, limit: int = 64
) -> AsyncIterator[Scheduler]:
    parallelism = Parallelism(threads=1, workers=workers, spinning=False)
    scheduler = Scheduler(parallelism, limit, Batching(size, delay), Metrics())
    scheduler.serve(engine, profile)
    try:
        yield scheduler
    finally:
        if isinstance(engine, Spy):
            engine.go.set()
        scheduler.close()


def submit(scheduler: Scheduler, rows: Array, seconds: float = FAR, name: str = "x") -> "asyncio.Future[Result]":
    return scheduler.submit({name: rows}, ["logits"], time.perf_counter() + seconds)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


PROVED = Proof(None, steady=True)
SHARED = Profile([], {1: 0.01, 8: 0.1}, PROVED, rows=8, part=8)


async def test_what_waits_is_computed_together_and_answered_as_if_alone(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, mlp())
    spy = Spy(engine)
    spy.go.clear()
    given = [rows(count, seed) for seed, count in enumerate([1, 1, 2, 3, 1, 1, 1])]
    async with scheduling(spy, SHARED) as scheduler:
        answers = [submit(scheduler, given[0])]
        await until(spy.begun.is_set)
        answers += [submit(scheduler, item) for item in given[1:]]
        spy.go.set()
        results = await asyncio.gather(*answers)
    assert spy.rows == [1, 8, 1]
    for item, result in zip(given, results, strict=True):
        np.testing.assert_allclose(result.arrays[0], engine.run({"x": item}, ["logits"])[0], rtol=1e-5, atol=1e-6)


async def test_one_bad_request_of_a_batch_fails_alone(tmp_path: Path) -> None:
    spy = Spy(engine_of(tmp_path, picky_lookup()))
    spy.go.clear()
    async with scheduling(spy, SHARED) as scheduler:
        answers = []
        for index in (0, 1, 7, 2):
            answers.append(scheduler.submit({"index": np.array([index])}, ["value"], time.perf_counter() + FAR))
            await until(spy.begun.is_set)
        spy.go.set()
        results = await asyncio.gather(*answers, return_exceptions=True)
    assert isinstance(results[2], BadRequestError)
    values = [result.arrays[0].tolist() for result in results if isinstance(result, Result)]
    assert values == [[10.0], [20.0], [30.0]]


@pytest.mark.parametrize(("count", "workers", "expected"), [(20, 1, [6, 7, 7]), (7, 2, [3, 4]), (1, 2, [1])])
async def test_a_large_request_is_computed_in_parts_and_answered_in_order(
    tmp_path: Path, count: int, workers: int, expected: list[int]
) -> None:
    engine = engine_of(tmp_path, mlp())
    spy = Spy(engine)
    given = rows(count)
    async with scheduling(spy, SHARED, workers=workers, size=1) as scheduler:
        result = await submit(scheduler, given)
    assert sorted(spy.rows) == expected
    np.testing.assert_allclose(result.arrays[0], engine.run({"x": given}, ["logits"])[0], rtol=1e-5, atol=1e-6)


async def test_parts_run_at_the_same_time(tmp_path: Path) -> None:
    spy = Spy(engine_of(tmp_path, mlp()))
    spy.go.clear()
    async with scheduling(spy, SHARED, workers=3, size=1) as scheduler:
        answer = submit(scheduler, rows(6))
        await until(lambda: spy.rows == [2, 2, 2])
        spy.go.set()
        assert (await answer).arrays[0].shape == (6, 3)


async def test_work_that_nobody_waits_for_is_never_begun(tmp_path: Path) -> None:
    spy = Spy(engine_of(tmp_path, mlp()))
    spy.go.clear()
    async with scheduling(spy, Profile([], {}, PROVED, rows=8), size=1) as scheduler:
        first = submit(scheduler, rows(1))
        await until(spy.begun.is_set)
        gone, late, last = submit(scheduler, rows(2)), submit(scheduler, rows(3), 0.05), submit(scheduler, rows(4))
        gone.cancel()
        with pytest.raises(DeadlineError):
            await late
        # They leave the queue at once, so that those who come and go cannot fill it.
        assert scheduler.waiting == 1
        spy.go.set()
        await asyncio.gather(first, last)
        assert spy.rows == [1, 4]


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_a_computation_that_nobody_waits_for_is_stopped(tmp_path: Path, how: str) -> None:
    engine = engine_of(tmp_path, countdown())
    begun, failed = threading.Event(), threading.Event()

    class Watching(Spy):
        def run(self, inputs: dict[str, Array], outputs: Sequence[str], stop: Stop | None = None) -> list[Array]:
            begun.set()
            try:
                return engine.run(inputs, outputs, stop)
            except ModelFailedError:
                failed.set()
                raise

    async with scheduling(Watching(engine), Profile([], {})) as scheduler:
        endless = {"count": np.array([2**62])}
        seconds = FAR if how == "cancelled" else 0.1
        answer = scheduler.submit(endless, ["total"], time.perf_counter() + seconds)
        await until(begun.is_set)
        if how == "cancelled":
            answer.cancel()
        else:
            with pytest.raises(DeadlineError):
                await answer
        await until(failed.is_set)
        after = scheduler.submit({"count": np.array([3])}, ["total"], time.perf_counter() + FAR)
        assert (await after).arrays[0].tolist() == [3]


async def test_a_request_that_cannot_be_in_time_is_refused_at_once(tmp_path: Path) -> None:
    spy = Spy(engine_of(tmp_path, mlp()))
    spy.go.clear()
    async with scheduling(spy, Profile([], {1: 2.5}), size=1) as scheduler:
        # Nothing is ahead: whether half a second suffices will be seen.
        first, second = submit(scheduler, rows(1), 0.5), submit(scheduler, rows(1))
        with pytest.raises(DeadlineUnattainableError) as refusal:
            submit(scheduler, rows(1), 8.0)
        assert refusal.value.retry_after == 5.0
        third = submit(scheduler, rows(1), 12.0)
        spy.go.set()
        await asyncio.gather(first, second, third)


async def test_short_inferences_move_to_the_event_loop(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, mlp())
    threads: set[str] = set()

    class Watching(Spy):
        def run(self, inputs: dict[str, Array], outputs: Sequence[str], stop: Stop | None = None) -> list[Array]:
            threads.add(threading.current_thread().name)
            return engine.run(inputs, outputs, stop)

    async with scheduling(Watching(engine), SHARED) as scheduler:
        assert (await submit(scheduler, rows(1))).arrays[0].shape == (1, 3)
        assert threads == {"infer-0"}
        async with asyncio.timeout(30):
            while threading.current_thread().name not in threads:
                await submit(scheduler, rows(1))
        with pytest.raises(BadRequestError):
            await scheduler.submit({"x": rows(1)}, ["nothing"], time.perf_counter() + FAR)


async def test_what_a_request_held_is_free_without_the_garbage_collector(tmp_path: Path) -> None:
    async with scheduling(engine_of(tmp_path, mlp()), Profile([], {})) as scheduler:
        gc.collect()
        gc.disable()
        try:
            rows: Array | None = np.ones((1, 4), np.float32)
            left = weakref.ref(rows)
            assert rows is not None
            await submit(scheduler, rows)
            rows = None
            # The callbacks of its future are yet to come.
            await asyncio.sleep(0)
            assert left() is None
        finally:
            gc.enable()
