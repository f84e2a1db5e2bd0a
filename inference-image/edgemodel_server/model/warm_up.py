"""The first runs of a model: they allocate memory and choose kernels, which no client should wait for, and they show
how long batches take, and from which size on a larger one gains nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError, ModelError, ModelFailedError
from edgemodel_server.model.engine import Engine
from edgemodel_server.model.rows.proof import Proof
from edgemodel_server.protocol.bfloat16 import EPSILON as BFLOAT16_EPSILON
from edgemodel_server.protocol.bfloat16 import numbers, to_bfloat16
from edgemodel_server.protocol.datatypes import FLOATS, NUMPY, Array

RUNS = 3
FREE_SIZES = (1, 32, 224)
"""Sizes tried for dimensions other than the batch that the model leaves open."""
GAIN = 0.9
"""Twice the batch has to take less than this much of the time per row, or requests do not wait to be joined to it."""
MIN_GAIN = 0.98
"""Twice the batch takes less than this much of the time per row, or larger ones are no faster."""
BATCH_SECONDS = 0.5
"""Time for measuring batches; the server is not ready before."""
PART_SECONDS = 0.01
"""Handing a part of a request over takes some hundredth of this. Batches of more rows than will be joined are measured
only up to here: a larger one tells little that is new, and takes memory."""
QUICK_SECONDS = 0.0002
"""A run of less is repeated, to be sure of it."""
QUICK_RUNS = 32
TOLERANCE = 1e-4
"""Another order of summation changes the last bits of a result; a neighbour that matters changes more than this."""

NOT_TRIED = Proof("its sizes are so open that no input could be made for a trial")
_FAILED_TRIAL = Proof("two rows together gave another result than each alone, in a trial")


@dataclass(frozen=True)
class Profile:
    """What the first runs showed.

    ``outputs`` are all outputs of each run of one row. ``seconds`` maps rows to the time they took. ``proof`` says
    whether rows are independent, so that requests may share a batch and a request may be split: the graph's, unless a
    trial refuted it. ``rows`` is the largest batch worth waiting for, 1 if none is. ``part`` is the size from which on
    a larger batch was no faster; None: larger ones always were, or there was no time to see.

    Of runs of one row, ``size`` is the bytes of inputs, and ``cpu_seconds`` the time that each used of a CPU.
    """

    outputs: list[list[Array]]
    seconds: Mapping[int, float]
    proof: Proof = NOT_TRIED
    rows: int = 1
    part: int | None = None
    size: int = 0
    cpu_seconds: Sequence[float] = ()


def warm_up(engine: Engine, proof: Proof, largest: int) -> Profile:
    """Run batches of one, first of zeros and then of fixed pseudo-random values; then, where ``proof`` lets rows share
    a batch, larger ones. ``largest`` is the most rows that will be joined.

    A model whose open dimensions fit none of the sizes tried is served cold, and its profile is empty.

    Raises:
        ModelError: the model cannot compute although its inputs leave nothing open but the batch.
    """
    specs = engine.card.inputs
    open_sizes = FREE_SIZES if any(-1 in spec.shape[1:] for spec in specs) else FREE_SIZES[:1]
    for free in open_sizes:
        try:
            return _profile(engine, proof, largest, free)
        except (BadRequestError, ModelFailedError) as error:
            if len(open_sizes) == 1:
                raise ModelError(f"the model fails on a warm-up input of its own shape: {error}") from error
    return Profile([], {}, proof if not proof.holds else NOT_TRIED)


def _profile(engine: Engine, proof: Proof, largest: int, free: int) -> Profile:
    outputs: list[list[Array]] = []
    single, used = float("inf"), float("inf")
    for seed in range(RUNS):
        began = time.thread_time()
        seconds, results = _timed(engine, _rows(engine, free, [seed]))
        used = min(used, time.thread_time() - began)
        single = min(single, seconds)
        outputs.append(results)
    one = _rows(engine, free, [1])
    size = sum(array.nbytes for array in one.values())
    cpu_seconds = _repeated(engine, one) if used <= QUICK_SECONDS else []
    if proof.holds and not _agree(engine, free):
        proof = _FAILED_TRIAL
    if not proof.holds:
        return Profile(outputs, {1: single}, proof, size=size, cpu_seconds=cpu_seconds)
    seconds_of = {1: single}
    rows, part = _measured(engine, one, seconds_of, largest)
    return Profile(outputs, seconds_of, proof, min(rows, _power(largest)), part, size, cpu_seconds)


def _measured(
    engine: Engine, one: Mapping[str, Array], seconds_of: dict[int, float], largest: int
) -> tuple[int, int | None]:
    """The largest batch worth waiting for, and the size from which on a larger one is no faster. ``one`` is a batch of
    one, for which ``seconds_of`` has the time already; those of others are filled in."""
    rows = best = 1
    waits = True
    deadline = time.perf_counter() + BATCH_SECONDS
    while time.perf_counter() <= deadline and (2 * rows <= largest or seconds_of[rows] < PART_SECONDS):
        batch = {name: np.repeat(array, 2 * rows, axis=0) for name, array in one.items()}
        seconds_of[2 * rows] = min(_timed(engine, batch)[0] for _ in range(RUNS))
        gain = seconds_of[2 * rows] / (2 * seconds_of[rows])
        if gain > MIN_GAIN:
            return best, rows
        rows *= 2
        waits = waits and gain <= GAIN
        best = rows if waits else best
    return best, None


def _power(size: int) -> int:
    """The largest power of two up to ``size``."""
    return 1 << (size.bit_length() - 1)


def _repeated(engine: Engine, inputs: dict[str, Array]) -> list[float]:
    """Seconds that each of some runs used of this thread's CPU."""
    found: list[float] = []
    for _ in range(QUICK_RUNS):
        began = time.thread_time()
        _outputs(engine, inputs)
        found.append(time.thread_time() - began)
    return found


def _agree(engine: Engine, free: int) -> bool:
    """Whether two rows give the same results together as each on its own.

    That they do proves nothing; that they do not refutes the proof, whatever its fault. The second is larger, so that a
    scale taken from the whole batch, as dynamic quantization does, shows.
    """
    first, second = _rows(engine, free, [1]), _rows(engine, free, [2], factor=8)
    try:
        together = _outputs(engine, {name: np.concatenate([first[name], second[name]]) for name in first})
        apart = zip(_outputs(engine, first), _outputs(engine, second), strict=True)
        compared = zip(engine.card.outputs, together, apart, strict=True)
        return all(_same(spec.datatype, both, np.concatenate(pair)) for spec, both, pair in compared)
    except (BadRequestError, ModelFailedError, ValueError):
        return False


def _same(datatype: Datatype, one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    one, other = numbers(datatype, one), numbers(datatype, other)
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    scale = float(np.abs(other.astype(np.float64)).max(initial=0.0))
    epsilon = BFLOAT16_EPSILON if datatype == "BF16" else float(np.finfo(one.dtype).eps)
    tolerance = max(TOLERANCE, epsilon * 8)
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * scale, equal_nan=True))


def _timed(engine: Engine, inputs: dict[str, Array]) -> tuple[float, list[Array]]:
    started = time.perf_counter()
    results = _outputs(engine, inputs)
    return time.perf_counter() - started, results


def _outputs(engine: Engine, inputs: dict[str, Array]) -> list[Array]:
    return engine.run(inputs, [spec.name for spec in engine.card.outputs])


def _rows(engine: Engine, free: int, seeds: list[int], factor: int = 1) -> dict[str, Array]:
    """A batch with one row per seed."""
    return {
        spec.name: np.concatenate([_probe(spec, free, seed, factor) for seed in seeds])
        if spec.shape
        else _probe(spec, free, seeds[0], factor)
        for spec in engine.card.inputs
    }


def _probe(spec: TensorSpec, free: int, seed: int, factor: int) -> Array:
    """An input of batch 1; of zeros for seed 0. Integers stay 0 and 1, because others may be out of a vocabulary."""
    shape = [size if size >= 0 else (1 if position == 0 else free) for position, size in enumerate(spec.shape)]
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    if not seed:
        return np.zeros(shape, dtype=NUMPY[spec.datatype])
    random = np.random.default_rng(seed)
    # Of no dimensions, numpy draws a number and no array.
    if spec.datatype == "BF16":
        return to_bfloat16(np.asarray(random.random(shape) * factor))
    drawn = random.random(shape) * factor if spec.datatype in FLOATS else random.integers(0, 2, shape)
    return np.asarray(drawn).astype(NUMPY[spec.datatype])
