"""What an output is, told from the graph's end and from what the original answers."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers
from edgemodel_compressor.evaluate.kinds import detects, kind_of
from tests.unit.compressor import builders

RNG = np.random.default_rng(1)


def graph(*nodes: NodeProto) -> ModelProto:
    """``nodes`` from ``x`` to ``y``."""
    return builders.model(
        list(nodes),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        {"scale": np.ones(8, np.float32), "shift": np.zeros(8, np.float32)},
    )


def node(kind: str, source: str = "x", target: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, [source], [target], **attributes)


def noise(*shape: int) -> Answers:
    return [RNG.normal(size=shape).astype(np.float32) for _ in range(40)]


def shares(*shape: int) -> Answers:
    return [powers / powers.sum(axis=-1, keepdims=True) for powers in map(np.exp, noise(*shape))]


NORMALIZED = (
    node("ReduceL2", "x", "length", axes=[-1], keepdims=1),
    helper.make_node("Clip", ["length"], ["least"]),
    helper.make_node("Div", ["x", "least"], ["y"]),
)
LAYER_NORM = (
    node("Sqrt", "x", "deviation"),
    helper.make_node("Div", ["x", "deviation"], ["d"]),
    helper.make_node("Mul", ["d", "scale"], ["m"]),
    helper.make_node("Add", ["m", "shift"], ["y"]),
)


@pytest.mark.parametrize(
    ("nodes", "answers", "kind"),
    [
        ((node("Softmax"),), shares(1, 6), "Agreement"),
        ((node("Softmax", "x", "s"), node("Identity", "s", "y")), shares(1, 6), "Agreement"),
        ((node("Relu"),), shares(1, 6), "Agreement"),
        ((node("Relu"),), noise(1, 6), "Agreement"),
        ((node("Relu"),), [np.sort(array) for array in noise(1, 4)], "Values"),
        ((node("Relu"),), noise(1, 1), "Values"),
        ((node("Sigmoid"),), noise(1, 1), "Scores"),
        ((node("Sigmoid"),), noise(1, 14), "Scores"),
        ((node("Sigmoid"),), noise(1, 1, 40, 40), "Scores"),
        ((node("Softmax", axis=2),), shares(1, 40, 96), "Sequence"),
        ((node("LogSoftmax"),), noise(1, 40, 96), "Sequence"),
        ((node("Softmax"),), shares(1, 4, 9, 9), "Scores"),
        ((node("Softmax"),), shares(1, 9, 9), "Scores"),
        # A matrix of attention of one sentence, without an axis for batches.
        ((node("Softmax"),), shares(9, 9), "Scores"),
        ((node("Softmax", axis=1),), shares(1, 3, 8, 8), "Scores"),
        ((node("Relu"),), noise(1, 300, 6), "Values"),
        ((node("Relu"),), noise(1, 84, 200), "Values"),
        (NORMALIZED, noise(1, 32), "Cosine"),
        (LAYER_NORM, noise(1, 9, 8), "Cosine"),
        ((node("LayerNormalization"),), noise(1, 32), "Cosine"),
        ((node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "y")), noise(1, 64), "Cosine"),
        ((node("ArgMax"),), [np.array([3])], "Agreement"),
        ((node("ArgMax"),), [np.zeros((1, 9, 9), np.int64)], "Sequence"),
    ],
)
def test_an_output_is_known_by_its_end(nodes: tuple[NodeProto, ...], answers: Answers, kind: str) -> None:
    assert kind_of(graph(*nodes), "y", answers) == kind


def spelled(shape: tuple[int, ...], blank: int, letters: int = 26) -> Answers:
    """Scores in which the blank is the best at most positions, and one of so many letters at every fourth."""
    answers = []
    for _ in range(40):
        scores = RNG.normal(size=shape)
        scores[..., blank] += 20
        positions = scores.reshape(-1, shape[-1])[::4]
        positions[np.arange(len(positions)), 1 + RNG.integers(letters, size=len(positions))] += 40
        answers.append(scores.astype(np.float32))
    return answers


PROJECTION = (node("Gemm", "x", "g"), helper.make_node("Add", ["g", "shift"], ["y"]))


@pytest.mark.parametrize(
    ("nodes", "answers", "kind"),
    [
        (PROJECTION, spelled((1, 40, 37), 0), "Sequence"),
        (PROJECTION, spelled((40, 1, 37), 36), "Sequence"),
        (PROJECTION, spelled((1, 40, 37), 17), "Values"),
        (PROJECTION, spelled((1, 40, 37), 0, letters=2), "Values"),
        (PROJECTION, noise(1, 40, 37), "Values"),
        ((node("Relu"),), spelled((1, 40, 37), 0), "Values"),
    ],
)
def test_scores_that_ctc_reads_are_known_by_their_blank(
    nodes: tuple[NodeProto, ...], answers: Answers, kind: str
) -> None:
    assert kind_of(graph(*nodes), "y", answers) == kind


def test_suppression_is_found_however_deep_it_lies() -> None:
    inner = graph(helper.make_node("NonMaxSuppression", ["x", "x"], ["y"])).graph
    assert detects(graph(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)))
    assert not detects(graph(node("Relu")))
