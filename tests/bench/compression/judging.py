"""Everybody's models side by side in this process: latency by turns, accuracy on samples that no tool has seen."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemodel_compressor.onnxmodel.runtime import Session
from tests.bench.compression.data import Part
from tests.bench.compression.peer_scripts.quality import quality
from tests.bench.compression.verdict import Judged

THREADS = 1
MIN_ROUNDS = 20


def judge(models: Mapping[str, Path], walls: Mapping[str, float], test: Part, seconds: float) -> list[Judged]:
    """Figures by tool. All models are loaded; then they take turns for about ``seconds``, at most once per sample.

    Before each run that is timed there is one that is not: a server that is busy has its weights in the caches, too.
    """
    sessions = {tool: Session(path, THREADS) for tool, path in models.items()}
    times: dict[str, list[float]] = {tool: [] for tool in models}
    end = time.perf_counter() + seconds
    for number, sample in enumerate(test.x):
        if number >= MIN_ROUNDS and time.perf_counter() > end:
            break
        feed = {"x": sample[None]}
        for tool, session in sessions.items():
            session.run(feed)
            start = time.perf_counter()
            session.run(feed)
            times[tool].append(time.perf_counter() - start)
    return [
        Judged(
            tool,
            disk_size(path),
            statistics.median(times[tool]),
            quality(np.concatenate([sessions[tool].run({"x": sample[None]})[0] for sample in test.x]), test.y),
            walls.get(tool, 0.0),
        )
        for tool, path in models.items()
    ]


def disk_size(model: Path) -> int:
    """Bytes of the model, with the data files that begin with its name."""
    return sum(file.stat().st_size for file in model.parent.glob(f"{model.name}*"))
