"""Images a little to the side: which inputs move, how far, and that the teacher answers what was moved."""

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgemodel_compressor.train import shifting
from edgemodel_compressor.train.plan import Recovered, TrainingPlan
from edgemodel_compressor.train.recover import recover
from edgemodel_compressor.train.shifting import COPIES, with_shifted
from tests.unit.compressor import builders


def images(count: int = 3, channels: int = 2, height: int = 32, width: int = 48) -> Tensor:
    """Every pixel another number."""
    return torch.arange(float(count * channels * height * width)).reshape(count, channels, height, width)


def offset(image: Tensor, moved: Tensor, farthest: int) -> tuple[int, int]:
    """By how many rows and columns the middle of ``image`` (channels, height, width) was moved in ``moved``."""
    height, width = image.shape[1:]
    middle = image[:, height // 2, width // 2]
    found = [
        (row, column)
        for row in range(-farthest, farthest + 1)
        for column in range(-farthest, farthest + 1)
        if torch.equal(moved[:, height // 2 + row, width // 2 + column], middle)
    ]
    (only,) = found
    return only


@given(seed=st.integers(0, 99))
def test_copies_follow_the_originals_and_are_moved_by_a_few_pixels(seed: int) -> None:
    before = images()
    (after,) = with_shifted([before], seed)
    assert torch.equal(after[:3], before)
    assert len(after) == (1 + COPIES) * 3
    for index, moved in enumerate(after):
        rows, columns = offset(before[index % 3], moved, farthest=2)
        assert max(abs(rows), abs(columns)) <= 2


def test_edges_are_repeated() -> None:
    before = images()
    (after,) = with_shifted([before], 0)
    for index, moved in enumerate(after):
        rows, columns = offset(before[index % 3], moved, farthest=2)
        where = [(torch.arange(size) - by).clamp(0, size - 1) for size, by in ((32, rows), (48, columns))]
        assert torch.equal(moved, before[index % 3][:, where[0]][:, :, where[1]])


def test_channels_may_come_last() -> None:
    first = images()
    (moved,), (last,) = with_shifted([first], 1), with_shifted([first.movedim(1, 3).contiguous()], 1)
    assert torch.equal(last, moved.movedim(1, 3))


def test_inputs_move_together_and_what_is_no_image_is_copied() -> None:
    before = images()
    tokens, words = torch.arange(6.0).reshape(3, 2), torch.arange(3 * 32 * 32).reshape(3, 1, 32, 32)
    one, other, copied, whole = with_shifted([before, before + 1, tokens, words], 2)
    assert torch.equal(one + 1, other)
    assert torch.equal(copied, tokens.repeat(1 + COPIES, 1))
    assert torch.equal(whole, words.repeat(1 + COPIES, 1, 1, 1))


@pytest.mark.parametrize("tensor", [torch.zeros(3, 64), torch.zeros(3, 8, 64), torch.zeros(3, 1, 7, 64)])
def test_where_nothing_can_move_there_are_no_copies(tensor: Tensor) -> None:
    (after,) = with_shifted([tensor], 0)
    assert torch.equal(after, tensor)


def test_there_are_no_copies_where_they_would_take_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before = images()
    monkeypatch.setattr(shifting, "MAX_SHIFTED_BYTES", (1 + COPIES) * before.nbytes)
    assert len(with_shifted([before], 0)[0]) > len(before)
    monkeypatch.setattr(shifting, "MAX_SHIFTED_BYTES", (1 + COPIES) * before.nbytes - 1)
    assert len(with_shifted([before], 0)[0]) == len(before)


def hurt(teacher: onnx.ModelProto) -> onnx.ModelProto:
    """``teacher`` with noise on its weights."""
    copy, random = onnx.ModelProto(), np.random.default_rng(0)
    copy.CopyFrom(teacher)
    for tensor in copy.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim > 1:
            noise = random.normal(0, values.std(), values.shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values + noise, tensor.name))
    return copy


def distilled(plan: TrainingPlan, count: int = 64) -> Recovered:
    teacher = builders.convnet(channels=8, side=16, batch="N")
    x, labels = builders.blobs(count, (1, 16, 16))
    return recover(hurt(teacher), {"image": x}, labels, teacher=teacher, plan=plan, progress=lambda _share, _text: None)


def test_a_training_with_shifted_images_is_repeatable_and_judges_by_images_as_they_are() -> None:
    plan = TrainingPlan(method="Distillation", epochs=2, shifting=True)
    once, again = distilled(plan), distilled(plan)
    without = distilled(TrainingPlan(method="Distillation", epochs=2))
    assert once.validation_loss == again.validation_loss
    assert once.validation_loss[0] == without.validation_loss[0]
    assert once.validation_loss[1:] != without.validation_loss[1:]
    assert min(once.validation_loss) < once.validation_loss[0]


def test_labels_are_not_asked_about_what_was_moved() -> None:
    plans = [TrainingPlan(method="Labels", epochs=1, shifting=shifted) for shifted in (True, False)]
    losses = [distilled(plan).validation_loss for plan in plans]
    assert losses[0] == losses[1]
