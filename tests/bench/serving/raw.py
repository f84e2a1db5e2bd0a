"""The limit: ``session.run`` in a loop, with nothing around it. A process of its own, on the servers' CPU.

    python -m tests.bench.serving.raw MODEL.onnx SECONDS SHAPE

prints one line of JSON: a Limit.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edgemodel_server.model.ort import onnxruntime
from tests.bench.serving.models import BenchModel

MODULE = "tests.bench.serving.raw"


@dataclass(frozen=True)
class Limit:
    """Runs per second, and seconds of one: the median, and of CPU time the mean."""

    rate: float
    p50: float
    cpu: float


def raw_loop(model: BenchModel, cpus: Sequence[int], seconds: float) -> Limit:
    """Measure ``model`` on ``cpus``, one thread, with the sample of the load program."""
    shape = ",".join(map(str, model.sample.shape))
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cpus))]
    done = subprocess.run(
        [*pinned, sys.executable, "-m", MODULE, str(model.file), str(seconds), shape],
        capture_output=True,
        text=True,
        check=True,
    )
    return Limit(**json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    path, seconds, shape = sys.argv[1], float(sys.argv[2]), [int(size) for size in sys.argv[3].split(",")]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    feed = {name: np.random.default_rng(1).random(shape, dtype=np.float32)}
    for _ in range(5):
        session.run(None, feed)
    times: list[float] = []
    used = time.process_time()
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        session.run(None, feed)
        times.append(time.perf_counter() - started)
    used = time.process_time() - used
    limit = Limit(rate=len(times) / sum(times), p50=statistics.median(times), cpu=used / len(times))
    print(json.dumps(asdict(limit)))


if __name__ == "__main__":
    main()
