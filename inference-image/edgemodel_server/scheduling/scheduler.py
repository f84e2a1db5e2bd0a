"""A bounded queue with deadlines in front of the model, and the threads that compute.

Inference and decoding have threads of their own: while the model computes without Python's lock, another request's
body can be decoded. Inferences that have proved to be short run on the event loop instead: handing them over would cost
more than they do.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np

from edgemodel_server.errors import DeadlineError, DeadlineUnattainableError, OverloadedError, RequestError
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.engine import Engine
from edgemodel_server.model.warm_up import Profile
from edgemodel_server.observability.metrics import Metrics
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.batching import hold, take
from edgemodel_server.scheduling.estimates import INLINE_SECONDS, INLINE_TENSOR_BYTES, InlinePolicy, RunTimes, wait
from edgemodel_server.scheduling.jobs import Batch, Job, Result, failures
from edgemodel_server.scheduling.sharing import Batching, Sharing, fault_of

P = ParamSpec("P")
R = TypeVar("R")

NO_WAIT = (0.0,)
MARGIN = 1.5
"""A request is let in only if it has this many times the time estimated: one that misses its deadline costs as much as
one that meets it, and what others do on the machine may change while it waits."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one batch: when it began, and the seconds it was computed, kept its worker, and used of a CPU."""

    began: float
    seconds: float
    occupied: float
    cpu: float


class Scheduler:
    """Runs at most ``parallelism.workers`` inferences at once and lets ``queue_limit`` more requests wait.

    All methods are for the event loop's thread.
    """

    def __init__(self, parallelism: Parallelism, queue_limit: int, batching: Batching, metrics: Metrics) -> None:
        """Threads start with the first work given to them; there is no model yet."""
        self.workers = parallelism.workers
        self._capacity = parallelism.workers + queue_limit
        self._batching = batching
        self._metrics = metrics
        self._engine: Engine | None = None
        self._sharing = Sharing(batching, Profile([], {}), self.workers)
        self._times = RunTimes({})
        self._inline_policy = InlinePolicy()
        self._accepted = 0
        self._rows = 0
        """Of all jobs that wait or are computed."""
        self._rows_to_join = 0
        """Likewise, of those that may share a run."""
        self._seconds_alone = 0.0
        """What the others of them take."""
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        metrics.queued.set_function(lambda: self.waiting)
        self._expected = 1
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._json = ThreadPoolExecutor(1, "json")
        self._images = ThreadPoolExecutor(parallelism.workers * parallelism.threads, "image")

    def serve(self, engine: Engine, profile: Profile) -> None:
        """Compute with ``engine`` from now on; ``profile`` is what its warm-up showed."""
        self._engine = engine
        self._sharing = Sharing(self._batching, profile, self.workers)
        self._times = RunTimes(profile.seconds)
        for seconds in profile.cpu_seconds:
            self._inline_policy.observe(profile.size, seconds)

    @property
    def sharing(self) -> Sharing:
        """Which requests may share a run."""
        return self._sharing

    @property
    def waiting(self) -> int:
        """Requests, or parts of them, that no worker has taken yet."""
        return len(self._queue)

    @property
    def batch_delay(self) -> float:
        """Seconds that a request waits at most for others."""
        return self._batching.delay

    def check(self, deadline: float) -> None:
        """Raise OverloadedError if ``submit`` of one row would now: sheds load before a body is read.

        ``deadline`` is a time of ``time.perf_counter``.
        """
        self._admit(1, deadline)

    def shares(self, inputs: dict[str, Array], most: int) -> list[slice]:
        """The rows of each of up to ``most`` servers that share this request; none where that would not pay."""
        return self._sharing.shares(self._sharing.rows(inputs), self._times, most)

    def expected(self, rows: int) -> float:
        """Seconds that ``rows`` take one worker, about."""
        return self._times.of(rows)

    def is_quick(self, size: int) -> bool:
        """Whether the model has proved to be so fast with inputs of ``size`` bytes that ``compute`` may be used: not
        where values may make it slow, for then clients decide."""
        return self._sharing.proof.steady and self._inline_policy.permits(size)

    def compute(self, inputs: dict[str, Array], outputs: Sequence[str]) -> Result:
        """The model's answer, here and now: nothing else happens meanwhile.

        Raises:
            RequestError: what ``Engine.run`` raises.
        """
        began, used = time.perf_counter(), time.thread_time()
        arrays = self._running.run(inputs, outputs)
        seconds = time.perf_counter() - began
        # However much larger the inputs are than what was sent of them: they held up all others.
        self._inline_policy.observe(min(_size(inputs), INLINE_TENSOR_BYTES), time.thread_time() - used)
        self._metrics.computed(self._sharing.rows(inputs) or 1, seconds, NO_WAIT)
        return Result(arrays, 0.0, seconds)

    def submit(
        self, inputs: dict[str, Array], outputs: Sequence[str], deadline: float, *, admitted: bool = False
    ) -> "asyncio.Future[Result]":
        """The model's answer. To cancel the future ends the work, begun or not. ``admitted``: it belongs to a request
        that was let in before.

        The future raises what ``Engine.run`` raises, and DeadlineError once ``deadline`` has passed.

        Raises:
            OverloadedError: the queue is full, or the answer would not be there in time.
        """
        loop = asyncio.get_running_loop()
        names = tuple(outputs)
        rows = self._sharing.rows(inputs)
        if self.is_quick(_size(inputs)):
            answer: asyncio.Future[Result] = loop.create_future()
            try:
                answer.set_result(self.compute(inputs, names))
            except RequestError as error:
                answer.set_exception(error)
            return answer
        if not admitted:
            self._admit(rows or 1, deadline)
        slices = self._sharing.parts(rows, self._times)
        if len(slices) == 1:
            jobs = [self._job(loop, inputs, names, rows, deadline)]
            answer = jobs[0].future
        else:
            jobs = [
                self._job(loop, {name: array[part] for name, array in inputs.items()}, names, _length(part), deadline)
                for part in slices
            ]
            whole = self._job(loop, inputs, names, None, deadline)
            answer = loop.create_task(self._put_together(jobs, whole))
        self._accepted += 1
        timer = loop.call_later(max(0.0, deadline - time.perf_counter()), _expire, jobs)

        def leave(_: object) -> None:
            timer.cancel()
            self._accepted -= 1

        answer.add_done_callback(leave)
        self._enqueue(jobs)
        return answer

    async def offload_json(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function``, which reads or writes bodies, on the thread for that.

        There is one: such work holds Python's lock from end to end, so more would only hold more memory at once.
        """
        return await asyncio.get_running_loop().run_in_executor(self._json, lambda: function(*args, **kwargs))

    async def offload_images(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function``, which decodes images, on one of the threads for that."""
        return await asyncio.get_running_loop().run_in_executor(self._images, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for executor in (self._json, self._images):
            executor.shutdown()

    def _admit(self, rows: int, deadline: float) -> None:
        ahead = wait(self._times, self._rows_to_join, self._sharing.batch_size, self.workers)
        ahead += self._seconds_alone / self.workers
        if self._accepted >= self._capacity:
            raise OverloadedError(
                f"{self._accepted} requests are computed or waiting already; try again in a moment", ahead
            )
        if self._accepted and time.perf_counter() + MARGIN * (ahead + self._times.of(rows)) > deadline:
            raise DeadlineUnattainableError(
                f"the work ahead takes about {ahead:.3f} seconds, which is longer than this request may wait; "
                "try again in a moment, or allow more time",
                ahead,
            )

    def _job(
        self,
        loop: asyncio.AbstractEventLoop,
        inputs: dict[str, Array],
        outputs: tuple[str, ...],
        rows: int | None,
        deadline: float,
    ) -> Job:
        kind = self._sharing.kind(inputs, outputs, rows)
        alone = self._times.of(rows or 1) if kind is None else 0.0
        return Job(inputs, outputs, rows or 1, kind, time.perf_counter(), deadline, loop.create_future(), alone)

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the scheduler has no model; the service answers that it is not ready before")
        return self._engine

    def _enqueue(self, jobs: list[Job]) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._work, name=f"infer-{index}", daemon=True) for index in range(self.workers)
            ]
            for thread in self._threads:
                thread.start()
        for job in jobs:
            self._count(job, 1)
            job.future.add_done_callback(partial(self._on_done, job))
        with self._changed:
            was_empty = not self._queue
            self._queue.extend(jobs)
            # A worker that holds out for company looks again by itself when it has waited long enough.
            held = hold(self._queue, self._sharing.batch_size, self._expected, self._batching.delay, jobs[0].submitted)
            if was_empty or held <= 0 or len(jobs) > 1:
                self._changed.notify(len(jobs))

    def _work(self) -> None:
        free = time.perf_counter()
        while (batch := self._next_batch()) is not None:
            free = self._run(batch, free)

    def _next_batch(self) -> Batch | None:
        """The batch to compute now; waits for one. None: the scheduler is closed."""
        idle_since = time.perf_counter()
        with self._changed:
            while True:
                if not self._queue:
                    if self._closed:
                        return None
                    self._changed.wait()
                    if time.perf_counter() - idle_since > self._batching.delay:
                        self._expected = 1
                    continue
                now = time.perf_counter()
                delay = hold(self._queue, self._sharing.batch_size, self._expected, self._batching.delay, now)
                if delay <= 0 or self._closed:
                    batch = Batch(take(self._queue, self._sharing.batch_size))
                    # With those that were answered a moment ago, whose clients are about to send the next.
                    self._expected = max(batch.rows, self._rows)
                    return batch
                self._changed.wait(delay)

    def _on_done(self, job: Job, _: object) -> None:
        """Nobody waits for ``job`` any more, for it has its answer or its caller has gone."""
        if job.batch is None:
            with self._changed:
                # A worker may just have taken it.
                waits = job.batch is None
                if waits:
                    self._queue.remove(job)
            if waits:
                self._left([job])
                return
        job.leave()

    def _left(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._count(job, -1)

    def _count(self, job: Job, sign: int) -> None:
        """Take ``job`` into account, or out of it again."""
        self._rows += sign * job.rows
        self._rows_to_join += sign * job.rows if job.kind is not None else 0
        self._seconds_alone += sign * job.alone

    def _run(self, batch: Batch, free: float) -> float:
        """Compute. ``free`` is when this worker had last nothing to do, or was through; the same of now is returned."""
        began, used = time.perf_counter(), time.thread_time()
        try:
            answers = batch.compute(self._running)
        except Exception as error:
            answers = failures(batch.jobs, error)
        ended, cpu = time.perf_counter(), time.thread_time() - used
        # What passes between two batches, while one waits, is a part of what the next one has to wait for.
        occupied = ended - max(free, min(began, batch.jobs[0].submitted))
        loop = batch.jobs[0].future.get_loop()
        loop.call_soon_threadsafe(self._finish, batch, answers, Spent(began, ended - began, occupied, cpu))
        return ended

    async def _put_together(self, jobs: list[Job], whole: Job) -> Result:
        """The parts of one request, in order; or ``whole`` where they do not add up. Cancelled, or with one part
        failed, the others end too."""
        parts = jobs[:]
        try:
            results = await asyncio.gather(*(job.future for job in parts))
            faults = [fault_of(result.arrays, job.rows) for result, job in zip(results, parts, strict=True)]
            if (fault := next(filter(None, faults), None)) is not None:
                self._sharing.refute(fault)
                jobs.append(whole)  # what ends the parts at their deadline ends it, too
                self._enqueue([whole])
                return await whole.future
        finally:
            for job in jobs:
                job.future.cancel()
        arrays = [np.concatenate(pieces) for pieces in zip(*(result.arrays for result in results), strict=True)]
        return Result(arrays, results[0].waited, max(result.waited + result.computed for result in results))

    def _finish(
        self,
        batch: Batch,
        answers: Sequence[list[Array] | RequestError],
        spent: Spent,
    ) -> None:
        self._left(batch.jobs)
        if batch.fault is not None:
            self._sharing.refute(batch.fault)
        waits = [spent.began - job.submitted for job in batch.jobs]
        self._metrics.computed(batch.rows, spent.seconds, waits)
        self._times.observe(batch.rows, spent.occupied)
        if len(batch.jobs) == 1 or spent.cpu <= INLINE_SECONDS:
            self._inline_policy.observe(_size(batch.jobs[0].inputs), spent.cpu)
        for job, answer, waited in zip(batch.jobs, answers, waits, strict=True):
            if isinstance(answer, RequestError):
                job.fail(answer)
            else:
                job.succeed(Result(answer, waited, spent.seconds))
        batch.release()


def _expire(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.fail(DeadlineError("the request's time ran out before its result was there"))


def _size(inputs: dict[str, Array]) -> int:
    return sum(array.nbytes for array in inputs.values())


def _length(part: slice) -> int:
    length: int = part.stop - part.start
    return length
