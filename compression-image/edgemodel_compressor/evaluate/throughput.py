"""How throughput grows with threads: the original beside the model that was made of it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgemodel_compressor.evaluate.latency import WARM_UP_RUNS, latency_round
from edgemodel_compressor.onnxmodel.runtime import Feed
from edgemodel_contract.base import Struct

ROUNDS = 3
"""Of each model by turns, so that a noisy moment falls on both."""
MIN_THROUGHPUT_RUNS = 3
"""Per round; a median needs fewer than a p95."""


class Throughput(Struct, frozen=True, kw_only=True):
    """Inferences per second, one after the other, with so many ``threads``; ``chosen`` where that is another model.

    At the pace of the median one: a moment's noise is not the model's.
    """

    threads: int
    original: float
    chosen: float | None = None


def thread_counts(cpus: int) -> tuple[int, ...]:
    """1, 2, 4 and so on below ``cpus``, and ``cpus``."""
    return (*(1 << power for power in range(cpus.bit_length()) if 1 << power < cpus), cpus)


def least_seconds(loading: float, run: float) -> float:
    """What ``by_threads`` takes at least for two models that each take so many seconds to load and to run once."""
    return 2 * 2 * ROUNDS * (loading + (WARM_UP_RUNS + MIN_THROUGHPUT_RUNS) * run)


def by_threads(
    original: Path,
    chosen: Path,
    feed: Feed,
    cpus: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    advance: Callable[[float, str], None] = lambda *_: None,
) -> tuple[Throughput, ...]:
    """Both models with each of ``thread_counts``; once ``seconds`` have passed, only with one thread and with all.

    ``advance`` is told the share done and what is measured.
    """
    counts, end = thread_counts(cpus), clock() + seconds
    models = (original,) if chosen == original else (original, chosen)
    share = seconds / (len(counts) * len(models) * ROUNDS)
    measured: list[Throughput] = []
    for threads in sorted(counts, key=lambda threads: (threads not in (1, cpus), threads)):
        if threads not in (1, cpus) and clock() >= end:
            break
        runs: dict[Path, list[float]] = {model: [] for model in models}
        advance(len(measured) / len(counts), f"measuring throughput on {threads} thread(s)")
        for model in models * ROUNDS:
            runs[model] += latency_round(model, threads, feed, share, MIN_THROUGHPUT_RUNS)
        rates = [round(1 / float(np.median(times)), 3) for times in runs.values()]
        measured.append(Throughput(threads=threads, original=rates[0], chosen=rates[1] if len(rates) > 1 else None))
    return tuple(sorted(measured, key=lambda item: item.threads))
