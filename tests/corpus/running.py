"""One model by one method, as a person runs it: the program in a process of its own, then the judge.

The peers are methods, too: onnxruntime's and NNCF's quantization as their defaults have it, of the same samples.
"""

import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.bench.compression.peers import install
from tests.corpus.catalogue import Stranger
from tests.corpus.judges import Answers, Judgement
from tests.corpus.samples import Arrays

METHODS: dict[str, tuple[str, ...]] = {
    "auto": (),
    "none": ("--mode", "None"),
    "manual": ("--quantize", "dynamic"),
}
PEERS = ("ort-dynamic", "ort-static", "nncf")
PEER_SCRIPT = Path(__file__).parent / "peer_scripts" / "quantize.py"
JUDGED = 48
ROUNDS, SECONDS = 15, 3.0
"""Of timing, each a run of the original and one of the result: so many at least, and as long as this."""
MOST_ROUNDS = 400
MOST = 900
"""Seconds after which a run is ended: it is stuck."""


@dataclass(frozen=True)
class Finished:
    """A run of the program. ``silence`` is the longest time without a word, ``said`` its last."""

    code: int
    seconds: float
    loading: float
    """Of these, those before the first measurement: fetching, converting, checking."""
    silence: float
    peak: int
    said: str
    traceback: bool


@dataclass(frozen=True)
class Result:
    """What became of one model by one method; sizes and speed as shares of the original's."""

    name: str
    method: str
    run: Finished
    size: float | None = None
    speed: float | None = None
    judgement: Judgement | None = None
    control: Judgement | None = None
    """Of the original's own answers, each to the sample before: a judge that takes these for the same sees nothing."""

    @property
    def ours(self) -> bool:
        """Whether it is a method of this project's, and no peer's."""
        return self.method not in PEERS


def compress(stranger: Stranger, method: str, limit: str, folder: Path, seed: int = 1) -> Result:
    """Run it, and judge what comes out on samples that the program has not seen; ``seed`` makes both."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset, out = folder / "samples.npz", folder / method
    shutil.rmtree(out, ignore_errors=True)
    np.savez(dataset, **stranger.make(np.random.default_rng(seed), stranger.count))  # type: ignore[arg-type]
    if method in PEERS:
        out.mkdir()
        command = [str(install()), str(PEER_SCRIPT), method, str(_original(stranger, folder)), str(dataset)]
        command += [str(out / "model.onnx"), *stranger.options, *(name for name, _ in stranger.state)]
    else:
        command = [sys.executable, "-m", "edgemodel_compressor", str(stranger.model()), "--dataset", str(dataset)]
        command += ["-o", str(out), "--timeout", limit, *METHODS[method], *stranger.options]
    done = _run(command, folder / f"{method}.log")
    if done.code:
        return Result(stranger.name, method, done)
    original, made = _original(stranger, folder), out / "model.onnx"
    fresh = stranger.make(np.random.default_rng([seed, 1]), JUDGED)
    before, after = (answers(path, stranger, fresh) for path in (original, made))
    return Result(
        stranger.name,
        method,
        done,
        made.stat().st_size / original.stat().st_size,
        _speed(original, made, stranger, fresh),
        stranger.judge(before, after),
        stranger.judge(before, [*before[1:], before[0]]),
    )


def _original(stranger: Stranger, folder: Path) -> Path:
    """The ONNX file of the original; of a folder that was converted, what mode None made of it."""
    model = stranger.model()
    if model.is_file():
        return model
    made = folder / "none" / "model.onnx"
    if not made.exists():
        compress(stranger, "none", "60s", folder)
    return made


def _run(command: Sequence[str], log: Path) -> Finished:
    start = last = time.monotonic()
    silence, loading, lines = 0.0, None, [""]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    while selector.select(timeout=MOST):
        line = process.stdout.readline()
        now = time.monotonic()
        silence, last = max(silence, now - last), now
        if not line:
            break
        lines.append(line.rstrip("\n"))
        if loading is None and "running the original" in line:
            loading = now - start
    else:
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    log.write_text("\n".join(lines) + "\n")
    said = next((line for line in reversed(lines) if line.strip()), "")
    traceback = any(re.match(r"Traceback \(most recent", line) for line in lines)
    seconds = time.monotonic() - start
    return Finished(process.returncode, seconds, loading or seconds, silence, usage.ru_maxrss * 1024, said, traceback)


def answers(model: Path, stranger: Stranger, fresh: Arrays) -> Answers:
    """What ``model`` answers to each sample; states go on from sample to sample."""
    session = _session(model)
    given: list[Sequence[NDArray[Any]]] = []
    state = {name: np.zeros(shape, np.float32) for name, shape in stranger.state}
    for feed in _feeds(session, stranger, fresh):
        outputs = session.run(None, feed | state)
        state = {name: outputs[index] for index, name in enumerate(state, 1)}
        given.append(outputs)
    return given


def _session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _feeds(session: onnxruntime.InferenceSession, stranger: Stranger, fresh: Arrays) -> Iterator[Arrays]:
    """Samples by the model's own names, with what the options fix where the model still asks for it."""
    states = {name for name, _ in stranger.state}
    fixed = dict(option.split("=") for option in stranger.options if "=" in option)
    wanted = [item for item in session.get_inputs() if item.name not in states]
    constants = {
        item.name: np.array(float(fixed[item.name]), np.int64 if "int" in item.type else np.float32)
        for item in wanted
        if item.name in fixed
    }
    names = [item.name for item in wanted if item.name not in fixed]
    arrays = (
        {name: fresh[name] for name in names} if set(names) <= set(fresh) else {names[0]: next(iter(fresh.values()))}
    )
    for index in range(len(next(iter(arrays.values())))):
        yield {name: array[index : index + 1] for name, array in arrays.items()} | constants


def _speed(original: Path, made: Path, stranger: Stranger, fresh: Arrays) -> float:
    """The original's time over the result's, the median of pairs of runs one after the other."""
    sessions = [_session(path) for path in (original, made)]
    state = {name: np.zeros(shape, np.float32) for name, shape in stranger.state}
    feeds = [next(_feeds(session, stranger, fresh)) | state for session in sessions]
    ratios: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(ratios) < ROUNDS or (time.perf_counter() < end and len(ratios) < MOST_ROUNDS):
        taken = []
        for session, feed in zip(sessions, feeds, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            taken.append(time.perf_counter() - start)
        ratios.append(taken[0] / taken[1])
    return float(np.median(ratios))
