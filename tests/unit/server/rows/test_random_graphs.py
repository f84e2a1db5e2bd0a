"""Random graphs: where the proof holds, what is computed together is what is computed alone."""

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_server.model.rows.graph import parse_graph
from edgemodel_server.model.rows.proof import Proof, prove
from edgemodel_server.protocol.datatypes import Array
from tests.unit.server.rows.graphs import ALL, SAFE, SHAPES, Feed, Grower, feed, session

BATCHES = [(2, 1, 5), (1, 1, 6), (3, 2, 7)]
"""Rows of one request and of the other, and a seed."""
SUMMED = {"ReduceSum", "ReduceMean", "Softmax", "LogSoftmax", "LayerNormalization", "Conv", "GRU", "Einsum", "CumSum"}
SUMMED |= {"MatMul", "Gemm", "AveragePool", "GlobalAveragePool", "InstanceNormalization", "BatchNormalization"}
SUMMED |= {"Tanh", "Sigmoid", "Erf", "Pow", "Div"}
"""Operators whose kernels round in another order, or by other instructions, where there are more rows."""


def grown(seed: int, steps: tuple[object, ...]) -> onnx.ModelProto | None:
    random = Random(seed)  # noqa: S311 # a graph is no secret
    grower = Grower(random)
    grower.grow(steps, random.randint(2, 9))  # type: ignore[arg-type]
    return grower.model()


def proved(model: onnx.ModelProto) -> Proof:
    return prove(parse_graph(memoryview(model.SerializeToString())), {name: (-1, *row) for name, row in SHAPES.items()})


def answered(engine: Any, given_feed: Feed) -> list[Array] | None:
    """The outputs; None where the model fails: then its client is told, or each request of a batch is tried alone."""
    try:
        return list(map(np.asarray, engine.run(None, given_feed)))
    except Exception:  # ONNX Runtime's exceptions have no common base class
        return None


def is_apart(model: onnx.ModelProto) -> bool:
    """Whether answers to two requests are the same together as alone, as far as some inputs show."""
    engine = session(model)
    is_exact = not SUMMED & {node.op_type for node in model.graph.node}
    for one, other, seed in BATCHES:
        first, second = feed(one, seed), feed(other, seed + 100)
        own, others = answered(engine, first), answered(engine, second)
        together = answered(engine, {name: np.concatenate([first[name], second[name]]) for name in first})
        if own is None or others is None or together is None:
            continue
        for mine, yours, ours in zip(own, others, together, strict=True):
            rows = len(mine) if mine.ndim else None, len(yours) if yours.ndim else None
            if rows != (one, other) or mine.shape[1:] != yours.shape[1:]:
                return False
            apart = np.concatenate([mine, yours])
            if apart.shape != ours.shape:
                return False
            if is_exact and not np.array_equal(apart, ours, equal_nan=True):
                return False
            if not np.allclose(apart, ours, rtol=1e-3, atol=1e-4, equal_nan=True):
                return False
    return True


@given(st.integers(0, 2**32))
def test_what_is_proved_holds(seed: int) -> None:
    model = grown(seed, ALL)
    if model is not None and proved(model).holds:
        assert is_apart(model)


@given(st.integers(0, 2**32))
def test_what_cannot_mix_rows_is_proved(seed: int) -> None:
    model = grown(seed, SAFE)
    if model is None:
        return
    shapes = {name for node in model.graph.node if node.op_type == "Shape" for name in node.output}
    # A shape of as many elements as there happen to be rows is no output by rows, and rightly refused.
    if not shapes & {output.name for output in model.graph.output}:
        assert proved(model).reason is None
        assert is_apart(model)


def test_the_graphs_are_of_both_kinds_and_few_are_refused_for_nothing() -> None:
    verdicts: Counter[tuple[bool, bool]] = Counter()
    for seed in range(60):
        model = grown(seed, ALL)
        if model is not None:
            verdicts[proved(model).holds, is_apart(model)] += 1
    assert verdicts[True, False] == 0
    assert verdicts[True, True] > 5
    assert verdicts[False, False] > 5


@pytest.mark.parametrize("seed", [1592, 2246, 2443])
def test_numbers_of_rows_are_not_theirs(seed: int) -> None:
    """They were once answered as if they were: alone a row is the first, in a batch it is not."""
    model = grown(seed, ALL)
    assert model is not None
    assert is_apart(model) or not proved(model).holds
