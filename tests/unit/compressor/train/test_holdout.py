"""The validation part: disjoint, of every class in proportion, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.train.holdout import hold_out

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=300).map(lambda each: np.array(each, np.int64))


@given(LABELS, st.floats(0.0, 0.95), st.integers(0, 3))
def test_the_parts_are_disjoint_together_all_and_never_empty(labels: np.ndarray, share: float, seed: int) -> None:
    training, validation = hold_out(len(labels), labels, share, seed)
    assert sorted([*training, *validation]) == list(range(len(labels)))
    assert len(training)
    assert len(validation)
    again = hold_out(len(labels), labels, share, seed)
    assert (again[0].tolist(), again[1].tolist()) == (training.tolist(), validation.tolist())


@given(LABELS, st.floats(0.1, 0.5))
def test_every_class_gives_its_share(labels: np.ndarray, share: float) -> None:
    _, validation = hold_out(len(labels), labels, share, 0)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert abs(np.count_nonzero(labels[validation] == label) - share * count) <= 2


@pytest.mark.parametrize("labels", [None, np.zeros(40, np.float32), np.zeros((40, 3), np.int64)])
def test_without_one_class_per_sample_it_is_a_random_part(labels: np.ndarray | None) -> None:
    _, validation = hold_out(40, labels, 0.25, 0)
    assert len(validation) == 10
    assert validation.tolist() != list(range(10))


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="1 samples"):
        hold_out(1, None, 0.5, 0)
