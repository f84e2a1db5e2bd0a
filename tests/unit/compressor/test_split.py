"""The split: nothing that calibrates or trains ever judges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.data.split import split


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


LABELS = st.lists(st.integers(0, 6), min_size=2, max_size=300)


class TestRecovery:
    @given(LABELS, st.integers(1, 300), st.booleans())
    def test_the_three_parts_never_overlap_and_lose_nothing(self, labels: list[int], most: int, labelled: bool) -> None:
        parts = split(len(labels), np.array(labels) if labelled else None, most, recovery=True)
        together = np.concatenate([parts.calibration, parts.evaluation, parts.recovery])
        assert sorted(together.tolist()) == list(range(len(labels)))
        assert sum(parts.counts.values()) == len(labels)
        assert 1 <= len(parts.calibration) <= most
        assert len(parts.evaluation) >= 1
        assert len(parts.recovery) >= 1 or len(labels) == 2

    @given(LABELS)
    def test_every_part_has_each_class_of_three_samples_or_more(self, labels: list[int]) -> None:
        known = np.array(labels)
        parts = split(len(labels), known, most=len(labels), recovery=True)
        for label, count in zip(*np.unique(known, return_counts=True), strict=True):
            if count > 2:
                for part in (parts.calibration, parts.evaluation, parts.recovery):
                    assert label in known[part]

    @given(st.lists(st.integers(8, 60), min_size=1, max_size=6))
    def test_recovery_gets_half_of_each_class(self, counts: list[int]) -> None:
        labels = np.repeat(np.arange(len(counts)), counts)
        parts = split(len(labels), labels, most=len(labels), recovery=True)
        seen = np.bincount(labels[parts.recovery], minlength=len(counts))
        for count, part in zip(counts, seen, strict=True):
            assert abs(part - count / 2) <= 1.5

    def test_a_cap_keeps_the_proportions_and_leaves_the_rest_to_judge(self) -> None:
        labels = np.repeat([0, 1], [900, 100])
        parts = split(1000, labels, most=100, recovery=True)
        assert np.bincount(labels[parts.calibration]).tolist() == [90, 10]
        assert parts.counts == {"calibration": 100, "recovery": 500, "evaluation": 400, "confirmation": 0}

    def test_without_it_figures_rest_on_the_same_samples_as_ever(self) -> None:
        assert split(10, np.arange(10) % 2, 3).evaluation.tolist() == [0, 1, 2, 3, 6, 8, 9]
