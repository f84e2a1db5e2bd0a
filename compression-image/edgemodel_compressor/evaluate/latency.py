"""Latency of a model file as it will be served: batch 1, as many threads."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session
from edgemodel_compressor.onnxmodel.tensors import batch_of_one, dtype_of
from edgemodel_contract.task import TensorSpec

WARM_UP_RUNS = 5
MIN_RUNS = 10
MAX_RUNS = 200
"""Per round, of which there are three; a p95 of some hundred runs is steady, more only takes time."""
PATIENCE = 1.0
"""Seconds after which a round ends with fewer than the least runs, and its warm-up likewise: a run may take seconds."""


def latency_round(model: Path, threads: int, feed: Feed, seconds: float, least: int = MIN_RUNS) -> list[float]:
    """Seconds of single runs: as many as ``seconds`` allow, between ``least`` and MAX_RUNS.

    Of a model that takes long there is one at least, and no more than PATIENCE and ``seconds`` allow.
    """
    session = Session(model, threads)
    end = time.perf_counter() + PATIENCE
    for _ in range(min(WARM_UP_RUNS, least)):
        session.run(feed)
        if time.perf_counter() > end:
            break
    runs: list[float] = []
    end = time.perf_counter() + seconds
    latest = end + PATIENCE
    while (
        not runs
        or (len(runs) < least and time.perf_counter() < latest)
        or (len(runs) < MAX_RUNS and time.perf_counter() < end)
    ):
        start = time.perf_counter()
        session.run(feed)
        runs.append(time.perf_counter() - start)
    return runs


def arbitrary_feed(specs: Sequence[TensorSpec]) -> Feed:
    """Valid values for timing where no sample is at hand: noise for floats, zeros or empty strings for all else."""
    rng = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for spec in specs:
        shape, dtype = batch_of_one(spec), dtype_of(spec)
        if spec.datatype == "BYTES":
            feed[spec.name] = np.full(shape, "", dtype)
            continue
        feed[spec.name] = rng.normal(size=shape).astype(dtype) if dtype.kind == "f" else np.zeros(shape, dtype)
    return feed


def cpu_name() -> str:
    """The CPU's own name, for the reader of a latency."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
