"""Which units go: the least important, about the share that is asked for, and never all of a group."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.graph.shapes import tensor_shapes
from edgemodel_compressor.graph.structure import Analysis, Scope, analyse, channels_left, remove, select
from edgemodel_compressor.graph.structure.importance.expense import weights_per_unit
from tests.architectures import export
from tests.unit.compressor.structure.running import chance

SCOPES: tuple[Scope, ...] = ("Global", "Layer")


@cache
def network() -> Analysis:
    """Ten groups of 8 to 64 units."""
    return analyse(export("vgg11", "torchscript", 17))


@given(
    sparsity=st.floats(0, 0.99),
    seed=st.integers(0, 99),
    multiple=st.sampled_from([1, 4, 8, 16]),
    least=st.integers(1, 9),
    scope=st.sampled_from(SCOPES),
)
def test_what_stays_is_rounded_and_never_nothing(
    sparsity: float, seed: int, multiple: int, least: int, scope: Scope
) -> None:
    analysis = network()
    selection = select(analysis, chance(analysis, seed), sparsity, scope=scope, multiple=multiple, least=least)
    for group in analysis.groups:
        stay = group.units - len(selection.removed.get(group.name, ()))
        assert stay >= min(least, group.units)
        if group.units >= 2 * multiple and stay != least:
            assert stay % multiple == 0


@given(sparsity=st.floats(0, 0.99), seed=st.integers(0, 99), scope=st.sampled_from(SCOPES))
def test_within_a_group_no_unit_goes_before_a_less_important_one(sparsity: float, seed: int, scope: Scope) -> None:
    analysis = network()
    scores = chance(analysis, seed)
    for name, gone in select(analysis, scores, sparsity, scope=scope).removed.items():
        stay = np.delete(scores[name], list(gone))
        assert scores[name][list(gone)].max() <= stay.min()
        assert list(gone) == sorted(gone)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.7])
def test_the_share_of_weighted_units_is_met(scope: Scope, sparsity: float) -> None:
    analysis = network()
    removed = select(analysis, chance(analysis, 3), sparsity, scope=scope, multiple=1).removed
    weights = {group.name: weights_per_unit(analysis, group) for group in analysis.groups}
    total = sum(weights[group.name] * group.units for group in analysis.groups)
    assert sum(weights[name] * len(gone) for name, gone in removed.items()) / total == pytest.approx(sparsity, abs=0.02)


def test_globally_a_group_of_unimportant_units_gives_more() -> None:
    analysis = network()
    scores = chance(analysis, 0)
    weak = analysis.groups[4].name
    scores[weak] = scores[weak] / 100
    removed = select(analysis, scores, 0.2, multiple=1).removed
    assert len(removed[weak]) == analysis.groups[4].units - 1
    layered = select(analysis, scores, 0.25, scope="Layer", multiple=1).removed
    assert len(layered[weak]) == analysis.groups[4].units // 4


def test_groups_too_small_to_round_are_not_rounded() -> None:
    """Six heads."""
    analysis = analyse(export("vit", "torchscript", 17))
    removed = select(analysis, chance(analysis, 0), 0.5, scope="Layer", multiple=8).removed
    assert sorted(len(gone) for gone in removed.values()) == [3, 3, 64, 64]


def test_units_weigh_what_goes_with_them() -> None:
    """A 3×3 convolution of 8 channels, its bias, and what reads it."""
    analysis = network()
    assert weights_per_unit(analysis, analysis.group("features.0.weight")) == 3 * 9 + 1 + 16 * 9


@pytest.mark.parametrize("options", [{"sparsity": 1.0}, {"sparsity": -0.1}, {"multiple": 0}, {"least": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sparsity"):
        select(network(), chance(network(), 0), **{"sparsity": 0.5, **options})  # type: ignore[arg-type]


def test_another_run_gives_the_same_bytes() -> None:
    proto = export("vgg11", "torchscript", 17)
    results = []
    for _ in range(2):
        analysis = analyse(proto)
        smaller = remove(proto, select(analysis, chance(analysis, 0), 0.5))
        results.append(smaller.SerializeToString(deterministic=True))
    assert results[0] == results[1]


def test_an_unknown_group_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        network().group("nothing")


def test_the_channels_that_stay_are_those_of_the_smaller_graph() -> None:
    analysis = network()
    selection = select(analysis, chance(analysis, 3), 0.5)
    smaller = tensor_shapes(remove(export("vgg11", "torchscript", 17), selection))
    left = {name: positions for name, positions in channels_left(selection).items() if name in smaller}
    assert len(left) > 10
    for name, positions in left.items():
        assert smaller[name][1] == len(positions), name
