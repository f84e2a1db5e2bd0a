"""Percentiles from cumulative buckets."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.serving import REQUEST_DURATION_BUCKETS
from edgemodel_operator.plan.policy.histogram import difference, quantile, total

INF = math.inf


def histogram(values: list[float]) -> dict[float, float]:
    """As the server counts: cumulative, over the contract's buckets."""
    bounds = (*REQUEST_DURATION_BUCKETS, INF)
    return {bound: float(sum(value <= bound for value in values)) for bound in bounds}


observations = st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=60)
shares = st.floats(0.01, 0.999)


@given(observations, shares)
def test_the_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    counted = histogram(values)
    found = quantile(counted, share)
    assert found is not None
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    true = sorted(values)[rank - 1]
    upper = next(bound for bound in (*REQUEST_DURATION_BUCKETS, INF) if true <= bound)
    lower = max((bound for bound in REQUEST_DURATION_BUCKETS if bound < true), default=0.0)
    assert lower <= found <= min(upper, REQUEST_DURATION_BUCKETS[-1])


@given(observations, shares, shares)
def test_a_larger_share_has_no_smaller_quantile(values: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    below, above = quantile(histogram(values), low), quantile(histogram(values), high)
    assert below is not None
    assert above is not None
    assert below <= above + 1e-12


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ({0.1: 0, 0.2: 10, INF: 10}, 0.5, 0.15),
        ({0.1: 10, 0.2: 10, INF: 10}, 0.95, 0.095),
        ({0.1: 5, 0.2: 10, INF: 10}, 0.5, 0.1),
        ({0.1: 0, 0.2: 0, INF: 4}, 0.5, 0.2),
        ({0.1: 0, INF: 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_as_promql_computes_it(counts: dict[float, float], share: float, value: float | None) -> None:
    assert quantile(counts, share) == (None if value is None else pytest.approx(value))


@given(observations, observations)
def test_what_came_in_between_is_the_difference(before: list[float], since: list[float]) -> None:
    assert difference(histogram(before + since), histogram(before)) == histogram(since)
    assert total([histogram(before), histogram(since)]) == histogram(before + since)


def test_a_counter_that_began_anew_is_seen() -> None:
    assert difference({1.0: 1, INF: 2}, {1.0: 5, INF: 9}) is None
    assert difference({}, {1.0: 5, INF: 9}) is None, "a server that started anew and was not called yet"
    assert difference({1.0: 1, INF: 2}, {}) == {1.0: 1, INF: 2}, "the first requests"
