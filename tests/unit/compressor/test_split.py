"""The split: nothing that calibrates ever judges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.split import split


@given(st.integers(2, 400), st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(1, 8), st.booleans())
def test_the_parts_never_overlap_and_lose_nothing(
    samples: int, most: int, seed: int, classes: int, labelled: bool
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, samples) if labelled else None
    parts = split(samples, labels, most)
    together = np.concatenate([parts.calibration, parts.evaluation])
    assert sorted(together.tolist()) == list(range(samples))
    assert 1 <= len(parts.calibration) <= min(most, samples // 2)


@given(st.lists(st.integers(4, 60), min_size=2, max_size=6))
def test_both_parts_have_each_class_in_proportion(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = split(len(labels), labels, most=len(labels))
    seen = np.bincount(labels[parts.calibration], minlength=len(counts))
    for count, part in zip(counts, seen, strict=True):
        assert abs(part - count / 2) <= 1


def test_a_cap_keeps_the_proportions() -> None:
    labels = np.repeat([0, 1], [900, 100])
    parts = split(1000, labels, most=100)
    assert len(parts.calibration) == 100
    assert np.bincount(labels[parts.calibration]).tolist() == [90, 10]
    assert len(parts.evaluation) == 900


def test_it_is_the_same_every_time() -> None:
    first, second = split(100, None, 30), split(100, None, 30)
    assert first.calibration.tolist() == second.calibration.tolist()


@pytest.mark.parametrize(("samples", "most"), [(1, 10), (0, 10), (10, 0)])
def test_what_cannot_be_split(samples: int, most: int) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split(samples, None, most)


@given(st.integers(4, 200), st.integers(1, 300), st.integers(0, 2**32 - 1), st.booleans())
def test_only_held_out_samples_judge_where_some_are_marked(samples: int, most: int, seed: int, recovery: bool) -> None:
    random = np.random.default_rng(seed)
    held_out = random.random(samples) < 0.3
    held_out[0], held_out[1] = True, False
    parts = split(samples, random.integers(0, 3, samples), most, recovery=recovery, held_out=held_out)
    assert parts.evaluation.tolist() == np.flatnonzero(held_out).tolist()
    rest = [*parts.calibration, *parts.recovery]
    assert len(rest) == len(set(rest))
    assert not held_out[rest].any()
    assert 1 <= len(parts.calibration) <= most
    if recovery:
        assert len(rest) == np.count_nonzero(~held_out)
    else:
        assert not len(parts.recovery)
