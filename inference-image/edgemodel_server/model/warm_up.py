"""The first runs of a model: they allocate memory and choose kernels, which no client should wait for, and they show
how long batches take, from which size on a larger one gains nothing, and whether rows can share one at all."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError, ModelError, ModelFailedError
from edgemodel_server.model.engine import Engine
from edgemodel_server.protocol.datatypes import FLOATS, NUMPY, Array

RUNS = 3
FREE_SIZES = (1, 32, 224)
"""Sizes tried for dimensions other than the batch that the model leaves open."""
GAIN = 0.9
"""Twice the batch has to take less than this much of the time per row, or batches stay as they are."""
BATCH_SECONDS = 0.5
"""Time for measuring batches; the server is not ready before."""
TOLERANCE = 1e-4
"""Another order of summation changes the last bits of a result; a neighbour that matters changes more than this."""


@dataclass(frozen=True)
class Profile:
    """What the first runs showed.

    ``outputs`` are all outputs of each run of one row. ``seconds`` maps rows to the time they took. ``independent``:
    rows of a batch do not influence each other, so requests may share one and a request may be split. ``rows`` is the
    largest batch that paid, 1 if none did.
    """

    outputs: list[list[Array]]
    seconds: Mapping[int, float]
    independent: bool = False
    rows: int = 1


def warm_up(engine: Engine, largest: int) -> Profile:
    """Run batches of one, first of zeros and then of fixed pseudo-random values; then, if the model lets rows share a
    batch, of up to ``largest``.

    A model whose open dimensions fit none of the sizes tried is served cold, and its profile is empty.

    Raises:
        ModelError: the model cannot compute although its inputs leave nothing open but the batch.
    """
    specs = engine.card.inputs
    open_sizes = FREE_SIZES if any(-1 in spec.shape[1:] for spec in specs) else FREE_SIZES[:1]
    for free in open_sizes:
        try:
            return _profile(engine, largest, free)
        except (BadRequestError, ModelFailedError) as error:
            if len(open_sizes) == 1:
                raise ModelError(f"the model fails on a warm-up input of its own shape: {error}") from error
    return Profile([], {})


def _profile(engine: Engine, largest: int, free: int) -> Profile:
    outputs: list[list[Array]] = []
    single = float("inf")
    for seed in range(RUNS):
        seconds, results = _timed(engine, _rows(engine, free, [seed]))
        single = min(single, seconds)
        outputs.append(results)
    if not engine.batch_is_open or not _independent(engine, free):
        return Profile(outputs, {1: single})
    seconds_of = {1: single}
    rows = best = 1
    deadline = time.perf_counter() + BATCH_SECONDS
    while (rows := rows * 2) <= largest:
        batch = _rows(engine, free, [1] * rows)
        seconds_of[rows] = min(_timed(engine, batch)[0] for _ in range(RUNS))
        if seconds_of[rows] / rows > GAIN * seconds_of[best] / best:
            break
        best = rows
        if time.perf_counter() > deadline:
            break
    return Profile(outputs, seconds_of, independent=True, rows=best)


def _independent(engine: Engine, free: int) -> bool:
    """Whether two rows give the same results together as each on its own.

    The second is larger, so that a scale taken from the whole batch, as dynamic quantization does, shows.
    """
    first, second = _rows(engine, free, [1]), _rows(engine, free, [2], factor=8)
    try:
        together = _outputs(engine, {name: np.concatenate([first[name], second[name]]) for name in first})
        apart = zip(_outputs(engine, first), _outputs(engine, second), strict=True)
        return all(_same(both, np.concatenate(pair)) for both, pair in zip(together, apart, strict=True))
    except (BadRequestError, ModelFailedError, ValueError):
        return False


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    scale = float(np.abs(other.astype(np.float64)).max(initial=0.0))
    tolerance = max(TOLERANCE, float(np.finfo(one.dtype).eps) * 8)
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
    if spec.datatype in FLOATS:
        return (random.random(shape) * factor).astype(NUMPY[spec.datatype])
    return random.integers(0, 2, shape).astype(NUMPY[spec.datatype])
