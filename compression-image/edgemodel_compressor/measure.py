"""Latency and accuracy of a model file, as it will be served: batch 1, as many threads."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from edgemodel_compressor.dataset import Dataset
from edgemodel_compressor.runtime import Array, Feed, Session
from edgemodel_compressor.split import Indices
from edgemodel_compressor.tensors import batch_of_one, dtype_of
from edgemodel_contract.task import TensorSpec

Metric = Literal["top1", "agreement", "cosine"]

WARM_UP_RUNS = 5
MIN_RUNS = 10
MAX_RUNS = 400
"""Per round; a p95 of some hundred runs is steady, more only takes time."""
REFERENCE_BYTES = 256 * 2**20
"""Memory for the original's outputs, where the metric compares whole outputs."""


@dataclass(frozen=True)
class Samples:
    """The evaluation part of a dataset, one sample at a time."""

    dataset: Dataset
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    def feeds(self) -> Iterator[Feed]:
        """Each sample as a batch of one, in the order of ``indices``."""
        for index in self.indices:
            yield {name: array[index : index + 1] for name, array in self.dataset.inputs.items()}

    def labels(self) -> Array | None:
        """Labels (samples,) in the order of ``feeds``."""
        return None if self.dataset.labels is None else self.dataset.labels[self.indices]


def classes_of(outputs: Sequence[TensorSpec]) -> int | None:
    """Number of classes, where the first output is a list of scores per sample; None where it is something else.

    0 stands for a list of scores whose length the file leaves open.
    """
    first = outputs[0]
    if len(first.shape) != 2 or not first.datatype.startswith("FP") or first.shape[0] not in (-1, 1):
        return None
    if first.shape[1] == -1:
        return 0
    return first.shape[1] if first.shape[1] > 1 else None


@dataclass
class Judge:
    """Scores models on ``samples``: against labels if there are any, else against what the original answers.

    The first model that is scored is the original.
    """

    samples: Samples
    metric: Metric
    _reference: list[Array] = field(default_factory=list)

    def score(self, model: Path, threads: int, advance: Callable[[float], None]) -> tuple[float, int]:
        """Accuracy from 0 to 1, and the number of samples it rests on. ``advance`` is told the share done.

        Runs one sample at a time: dynamic quantization takes its ranges from the whole batch.
        """
        session = Session(model, threads)
        labels = self.samples.labels() if self.metric == "top1" else None
        is_original = not self._reference
        scores: list[float] = []
        spent = 0
        for index, feed in enumerate(self.samples.feeds()):
            output = session.run(feed)[0]
            answer = output if self.metric == "cosine" else output.argmax(axis=-1)
            if is_original:
                self._reference.append(answer)
                spent += answer.nbytes
            elif index >= len(self._reference):
                break
            truth = self._reference[index] if labels is None else labels[index]
            scores.append(_cosine(answer, truth) if self.metric == "cosine" else float(np.all(answer == truth)))
            if index % 16 == 0:
                advance((index + 1) / len(self.samples))
            if spent > REFERENCE_BYTES:
                break
        return round(float(np.mean(scores)), 6), len(scores)


def _cosine(first: Array, second: Array) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale == 0:
        return float(np.array_equal(a, b))
    return float(np.clip(a @ b / scale, -1.0, 1.0))


def latency_round(model: Path, threads: int, feed: Feed, seconds: float) -> list[float]:
    """Seconds of single runs: as many as ``seconds`` allow, between MIN_RUNS and MAX_RUNS."""
    session = Session(model, threads)
    for _ in range(WARM_UP_RUNS):
        session.run(feed)
    runs: list[float] = []
    end = time.perf_counter() + seconds
    while len(runs) < MIN_RUNS or (len(runs) < MAX_RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        session.run(feed)
        runs.append(time.perf_counter() - start)
    return runs


def arbitrary_feed(specs: Sequence[TensorSpec]) -> Feed:
    """Valid values for timing where no sample is at hand: noise for floats, zeros for everything else."""
    rng = np.random.default_rng(0)
    feed: dict[str, Array] = {}
    for spec in specs:
        shape, dtype = batch_of_one(spec), dtype_of(spec)
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
