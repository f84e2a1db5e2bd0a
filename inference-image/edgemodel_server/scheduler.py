"""Threads and a bounded queue in front of the engine, so that the event loop never computes.

Inference and decoding have threads of their own: while the model computes without Python's lock, another request's
body can be decoded.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from edgemodel_server.cpus import Parallelism
from edgemodel_server.datatypes import Array
from edgemodel_server.engine import Engine
from edgemodel_server.errors import UnavailableError
from edgemodel_server.metrics import Metrics

P = ParamSpec("P")
R = TypeVar("R")


class Scheduler:
    """Runs at most ``parallelism.workers`` inferences at once and lets ``queue_limit`` more wait, first come first."""

    def __init__(self, parallelism: Parallelism, queue_limit: int, metrics: Metrics) -> None:
        """Threads start with the first work given to them."""
        self._capacity = parallelism.workers + queue_limit
        self._accepted = 0
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(parallelism.workers, "infer")
        self._json = ThreadPoolExecutor(1, "json")
        self._images = ThreadPoolExecutor(parallelism.workers * parallelism.threads, "image")

    def check(self) -> None:
        """Raise UnavailableError if ``infer`` would now: sheds load before a body is read."""
        if self._accepted >= self._capacity:
            raise UnavailableError(f"{self._capacity} inferences are running or waiting already; try again in a moment")

    async def infer(self, engine: Engine, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """``engine.run`` on a worker thread.

        Raises:
            UnavailableError: the queue is full.
            RequestError: what ``engine.run`` raises.
        """
        self.check()
        self._accepted += 1
        submitted = time.perf_counter()
        self._metrics.queued.inc()

        def run() -> list[Array]:
            started = time.perf_counter()
            self._metrics.queued.dec()
            self._metrics.queue.observe(started - submitted)
            try:
                return engine.run(inputs, outputs)
            finally:
                self._metrics.compute.observe(time.perf_counter() - started)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, run)
        finally:
            self._accepted -= 1

    async def offload_json(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function``, which reads or writes JSON, on the thread for that.

        There is one: such work holds Python's lock from end to end, so more would only hold more memory at once.
        """
        return await asyncio.get_running_loop().run_in_executor(self._json, lambda: function(*args, **kwargs))

    async def offload_images(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run ``function``, which decodes images, on one of the threads for that."""
        return await asyncio.get_running_loop().run_in_executor(self._images, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Finish what was begun and end the threads."""
        for executor in (self._workers, self._json, self._images):
            executor.shutdown()
