"""No metric calls a broken model good, and none calls a copy, or one that rounds, broken."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemodel_compressor.evaluate.fidelity import compare
from edgemodel_compressor.evaluate.fidelity.boxes import Detections, detections
from edgemodel_compressor.evaluate.fidelity.fidelity import Answers
from edgemodel_contract.quality import Metric

SAMPLES = 40
Generator = np.random.Generator


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def logits(rng: Generator, *shape: int) -> np.ndarray:
    """Of a model that is mostly sure of itself, with an offset per class that every sample has."""
    values = rng.normal(size=(SAMPLES, *shape)) + rng.normal(size=shape[-1])
    best = rng.integers(0, shape[-1], size=(SAMPLES, *shape[:-1]))
    np.put_along_axis(values, best[..., None], values.max(axis=-1, keepdims=True) + 3, axis=-1)
    return np.asarray(values)


def ctc(rng: Generator) -> np.ndarray:
    """(samples, 30, 12): blanks, and symbols between them."""
    values = rng.normal(size=(SAMPLES, 30, 12))
    values[..., 0] += 5
    symbols = rng.integers(1, 12, size=(SAMPLES, 10))
    values[:, ::3][np.arange(SAMPLES)[:, None], np.arange(10)[None, :], symbols] += 10
    return softmax(values)


def detector(rng: Generator) -> np.ndarray:
    """(samples, 20, 6): boxes in pixels, a score, and another score."""
    corners = rng.uniform(0, 300, size=(SAMPLES, 20, 2))
    sizes = rng.uniform(20, 200, size=(SAMPLES, 20, 2))
    return np.concatenate([corners, corners + sizes, rng.uniform(0, 1, size=(SAMPLES, 20, 2)) ** 3], axis=2)


OUTPUTS: dict[str, tuple[Metric, Callable[[Generator], np.ndarray]]] = {
    "probabilities of classes": ("Agreement", lambda rng: softmax(logits(rng, 5))),
    "logits of classes": ("Agreement", lambda rng: logits(rng, 10)),
    "a probability": ("Scores", lambda rng: 1 / (1 + np.exp(-3 * rng.normal(size=(SAMPLES, 1))))),
    "probabilities of several things": ("Scores", lambda rng: 1 / (1 + np.exp(-3 * rng.normal(size=(SAMPLES, 6))))),
    "a matrix of attention": ("Scores", lambda rng: softmax(3 * rng.normal(size=(SAMPLES, 4, 7, 7)))),
    "one number": ("Values", lambda rng: 20 + 3 * rng.normal(size=(SAMPLES, 1))),
    "numbers of one sign": ("Values", lambda rng: np.exp(rng.normal(size=(SAMPLES, 3)))),
    "numbers of many scales": ("Values", lambda rng: 10.0 ** np.arange(-3, 3) * rng.normal(size=(SAMPLES, 6))),
    "boxes beside scores": ("Values", detector),
    "a feature map": ("Values", lambda rng: rng.normal(size=(SAMPLES, 24, 6, 6)) * 10 ** rng.normal(size=(24, 1, 1))),
    "tokens": ("Sequence", lambda rng: logits(rng, 12, 30)),
    "text out of CTC": ("Sequence", ctc),
    "sentence vectors": ("Cosine", lambda rng: rng.normal(size=(SAMPLES, 32)) + 2 * rng.normal(size=32)),
}


def answers(values: np.ndarray) -> Answers:
    return list(values[:, None].astype(np.float32))


def shuffled(values: np.ndarray, rng: Generator) -> np.ndarray:
    return values[np.roll(rng.permutation(len(values)), 1)] if len(values) < 3 else np.roll(values, 1, axis=0)


def averaged(values: np.ndarray, _: Generator) -> np.ndarray:
    return np.broadcast_to(values.mean(axis=0), values.shape)


def shrunk(values: np.ndarray, _: Generator) -> np.ndarray:
    return 0.1 * values


def permuted(values: np.ndarray, _: Generator) -> np.ndarray:
    axis = 1 if values.ndim == 4 and values.shape[-1] != 7 else -1
    return np.roll(values, 1, axis=axis)


DAMAGE = {"shuffled": shuffled, "replaced by the mean": averaged, "scaled by 0.1": shrunk, "permuted": permuted}
CASES = [
    (output, damage)
    for output in OUTPUTS
    for damage in DAMAGE
    if damage != "permuted" or output not in ("a probability", "one number")
]


@pytest.mark.parametrize(("output", "damage"), CASES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_what_is_broken_has_lost_more_than_any_objective_allows(output: str, damage: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    metric, make = OUTPUTS[output]
    values = make(rng)
    found = compare(metric, answers(values), answers(DAMAGE[damage](values, rng)))
    assert found.value < 0.8, found.words


@pytest.mark.parametrize("output", OUTPUTS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_a_copy_has_lost_nothing(output: str, seed: int) -> None:
    metric, make = OUTPUTS[output]
    values = answers(make(np.random.default_rng(seed)))
    found = compare(metric, values, values)
    assert found.value == pytest.approx(1.0)
    assert not found.broken


@pytest.mark.parametrize("output", OUTPUTS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_what_only_rounds_is_good(output: str, seed: int) -> None:
    """Noise of half a percent of each number's own spread, as good integers leave."""
    rng = np.random.default_rng(seed)
    metric, make = OUTPUTS[output]
    values = make(rng)
    spread = values.std(axis=0, keepdims=True)
    noise = 0.005 * spread * rng.normal(size=values.shape)
    found = compare(metric, answers(values), answers(values + noise))
    assert found.value > 0.99, found.words


def found_by(rng: Generator) -> list[Detections]:
    result = []
    for _ in range(SAMPLES):
        count = int(rng.integers(1, 8))
        corners = rng.uniform(0, 400, size=(count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(20, 100, size=(count, 2))], axis=1)
        result.append(Detections(boxes, rng.uniform(0.3, 1, count), rng.integers(0, 5, count).astype(float)))
    return result


BROKEN_DETECTIONS: dict[str, Callable[[list[Detections]], list[Detections]]] = {
    "shuffled": lambda found: [*found[1:], found[0]],
    "constant": lambda found: [found[0]] * len(found),
    "boxes scaled": lambda found: [Detections(0.1 * item.boxes, item.scores, item.labels) for item in found],
    "scores scaled": lambda found: [Detections(item.boxes, 0.1 * item.scores, item.labels) for item in found],
    "other classes": lambda found: [Detections(item.boxes, item.scores, item.labels + 1) for item in found],
    "axes permuted": lambda found: [
        Detections(np.roll(item.boxes, 1, axis=1), item.scores, item.labels) for item in found
    ],
    "nothing found": lambda found: [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0)) for _ in found],
}


@pytest.mark.parametrize("damage", BROKEN_DETECTIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_broken_detections_have_lost_more_than_any_objective_allows(damage: str, seed: int) -> None:
    found = found_by(np.random.default_rng(seed))
    assert detections(found, BROKEN_DETECTIONS[damage](found)).value < 0.8


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_detections_that_move_by_a_pixel_and_come_in_another_order_are_good(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = found_by(rng)
    moved = []
    for item in found:
        order = rng.permutation(len(item.scores))
        boxes = item.boxes + rng.uniform(-1, 1, size=item.boxes.shape)
        moved.append(Detections(boxes[order], (item.scores - 0.02)[order], item.labels[order]))
    assert detections(found, moved).value > 0.99
