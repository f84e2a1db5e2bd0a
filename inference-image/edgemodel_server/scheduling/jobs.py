"""Requests on their way through the scheduler, and the batches they form."""

import asyncio
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from edgemodel_server.errors import ModelFailedError, RequestError
from edgemodel_server.model.engine import Engine, Stop
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.sharing import fault_of

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """The outputs asked for, in order, and how many seconds they waited and were computed."""

    arrays: list[Array]
    waited: float
    computed: float


@dataclass(slots=True, eq=False)
class Job:
    """A request, or a part of one. ``submitted`` and ``deadline`` are times of ``time.perf_counter``. ``alone`` is the
    seconds that it should take, where its ``kind`` lets it share no run.

    The event loop alone writes ``future``; threads may look whether it is done.
    """

    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int
    kind: Hashable
    submitted: float
    deadline: float
    future: "asyncio.Future[Result]"
    alone: float = 0.0
    batch: "Batch | None" = field(default=None, repr=False)

    def succeed(self, result: Result) -> None:
        """Give the result, if anybody still waits."""
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: RequestError) -> None:
        """Give the error, if anybody still waits."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # a part of a request that failed already has nobody who looks

    def leave(self) -> None:
        """Nobody waits any more: a batch of none but such jobs ends."""
        if self.batch is not None:
            self.batch.end_if_abandoned()


class Batch:
    """Jobs of one kind that are computed together."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """A batch of ``jobs``."""
        self.jobs: Sequence[Job] = jobs
        self.rows = sum(job.rows for job in jobs)
        self.fault: str | None = None
        """What its computation showed to be wrong with computing them together."""
        self._stop = Stop()
        self._over = False
        for job in jobs:
            job.batch = self

    def end_if_abandoned(self) -> None:
        """Stop the computation if it still runs and nobody waits for any part of it."""
        if not self._over and self.is_abandoned:
            self._stop.set()

    def release(self) -> None:
        """All are answered. Jobs and batch know each other, and what is large must not wait for a garbage collector."""
        self.jobs = ()

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for any part of it."""
        return all(job.future.done() for job in self.jobs)

    def compute(self, engine: Engine) -> list[list[Array] | RequestError]:
        """Each job's outputs, or why it has none. Where the model fails on the batch, or an output has not as many rows
        as it, each job is computed alone: only those fail that fail by themselves."""
        jobs = self.jobs
        if self.is_abandoned:
            answers: list[list[Array] | RequestError] = [[] for _ in jobs]
        elif len(jobs) == 1:
            answers = [self._alone(engine, jobs[0])]
        else:
            answers = self._together(engine) or [self._alone(engine, job) for job in jobs]
        self._over = True
        return answers

    def _alone(self, engine: Engine, job: Job) -> list[Array] | RequestError:
        try:
            return engine.run(job.inputs, job.outputs, self._stop)
        except RequestError as error:
            return error

    def _together(self, engine: Engine) -> list[list[Array] | RequestError]:
        """The outputs of each; none where they have to be computed alone."""
        jobs = self.jobs
        inputs = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
        try:
            arrays = engine.run(inputs, jobs[0].outputs, self._stop)
        except RequestError:
            return []
        self.fault = fault_of(arrays, self.rows)
        if self.fault is not None:
            return []
        answers: list[list[Array] | RequestError] = []
        start = 0
        for job in jobs:
            answers.append([array[start : start + job.rows] for array in arrays])
            start += job.rows
        return answers


def failures(jobs: Sequence[Job], error: Exception) -> list[list[Array] | RequestError]:
    """What to answer where computing raised what no request should cause; it is logged with all there is."""
    logger.error("an inference failed", exc_info=error)
    return [ModelFailedError("the server failed on this request; its log says why") for _ in jobs]
