"""Samples between samples: half of a batch, each a mixture of two, with the teacher's answer to it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from edgemodel_compressor.train.mixing import Mixing, mixing
from edgemodel_compressor.train.objective import squared_error
from edgemodel_compressor.train.plan import TrainingPlan
from edgemodel_compressor.train.supervision import OUTPUTS, Supervision
from tests.unit.compressor.train import digits
from tests.unit.compressor.train.test_recover import train

SAMPLES = [torch.arange(12.0).reshape(6, 2)]
TEACHER = Supervision(squared_error, OUTPUTS, lambda indices: [3 * SAMPLES[0][indices]], lambda inputs: [3 * inputs[0]])


def lesson(indices: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    mixed = mixing(TEACHER, SAMPLES, seed)
    assert mixed is not None
    inputs, targets = mixed.lesson(SAMPLES, torch.tensor(indices), TEACHER)
    return inputs[0], targets[0]


@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5], [4, 0, 2], [5, 3], [1]])
def test_the_second_half_is_as_it_was_and_the_first_lies_between_the_two(indices: list[int]) -> None:
    inputs, targets = lesson(indices)
    before, half = SAMPLES[0][indices], len(indices) // 2
    assert torch.equal(inputs[half:], before[half:])
    assert torch.equal(targets, 3 * inputs), "every target is the teacher's answer to that very input"
    first, second = before[:half], before[half : 2 * half]
    share = (inputs[:half] - second) / (first - second)
    assert torch.allclose(share[:, 0], share[:, 1]), "one share for all of a sample"
    assert bool(((share >= 0) & (share <= 1)).all())


def test_shares_are_drawn_anew_for_each_step_and_the_same_for_the_same_seed() -> None:
    once, again, other = lesson([0, 1, 2, 3]), lesson([0, 1, 2, 3]), lesson([0, 1, 2, 3], seed=1)
    assert torch.equal(once[0], again[0])
    assert not torch.equal(once[0], other[0])
    drawing = mixing(TEACHER, SAMPLES, 0)
    assert drawing is not None
    steps = [drawing.lesson(SAMPLES, torch.tensor([0, 1, 2, 3]), TEACHER)[0][0] for _ in range(2)]
    assert not torch.equal(*steps)


def test_between_words_there_is_nothing_and_labels_have_no_answers() -> None:
    assert mixing(TEACHER, [torch.arange(4)], 0) is None
    labelled = Supervision(squared_error, OUTPUTS, TEACHER.targets)
    assert mixing(labelled, SAMPLES, 0) is None
    assert isinstance(mixing(TEACHER, SAMPLES, 0), Mixing)


def test_a_training_with_mixtures_is_repeatable_and_another_one_than_without() -> None:
    teacher = train(digits.convnet(), TrainingPlan(epochs=3, learning_rate=3e-3), labels=digits.digits().y).proto
    plans = [TrainingPlan(epochs=2, mixing=mixed) for mixed in (True, True, False)]
    losses = [np.array(train(digits.convnet(), plan, teacher=teacher).validation_loss) for plan in plans]
    assert np.array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])
