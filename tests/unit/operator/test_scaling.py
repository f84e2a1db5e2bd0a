"""Replicas of one site, from the latency that its users feel."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_operator.observed import Recommendation, SiteLatency
from edgemodel_operator.plan.policy.scaling import Decision, Limits, limits, scale
from tests.unit.operator.builders import NOW, after, edge_model

TARGET = 0.020
STALE = timedelta(seconds=15)


def bounds(minimum: int = 1, maximum: int = 8, target: float | None = TARGET, up: int = 0, down: int = 60) -> Limits:
    return Limits(minimum, maximum, target, 95, timedelta(seconds=up), timedelta(seconds=down))


def figure(seconds: float | None, age: float = 0, servers: int = 100) -> SiteLatency:
    return SiteLatency(seconds=seconds, requests_per_second=10, servers=servers, at=after(-age))


def history(*entries: tuple[float, int]) -> tuple[Recommendation, ...]:
    """(seconds ago, replicas), oldest first."""
    return tuple(Recommendation(after(-age), replicas) for age, replicas in entries)


def decide(
    current: int | None,
    latency: SiteLatency | None,
    past: tuple[Recommendation, ...] = (),
    *,
    within: Limits | None = None,
    capacity_limited: bool = False,
) -> Decision:
    return scale(within or bounds(), current, latency, past, capacity_limited, STALE, NOW)


CALM = history((60, 1), (40, 1), (20, 1))
"""A whole down window of recommendations to go to one."""


@pytest.mark.parametrize(
    ("current", "latency", "replicas", "reason"),
    [
        (1, 0.021, 1, "OnTarget"),
        (1, 0.022, 1, "OnTarget"),
        (1, 0.023, 2, "ScalingUp"),
        (4, 0.024, 5, "ScalingUp"),
        (4, 0.030, 6, "ScalingUp"),
        (3, 10.0, 6, "ScalingUp"),
        (6, 10.0, 8, "ScalingUp"),
        (8, 10.0, 8, "AtMaximum"),
        (8, 0.020, 8, "OnTarget"),
        (4, 0.011, 4, "OnTarget"),
        (1, 0.001, 1, "OnTarget"),
        (1, None, 1, "OnTarget"),
    ],
)
def test_one_measurement(current: int, latency: float | None, replicas: int, reason: str) -> None:
    found = decide(current, figure(latency))
    assert (found.replicas, found.reason) == (replicas, reason)


def test_the_message_has_the_figures() -> None:
    assert decide(2, figure(0.03)).message == "p95 30ms against a target of 20ms: from 2 to 3 replicas."


@pytest.mark.parametrize(
    ("past", "replicas"),
    [
        ((), 3),
        (history((30, 2)), 3),
        (history((60, 2), (30, 2)), 2),
        (history((60, 2), (30, 3)), 3),
        (history((70, 2), (50, 2), (10, 2)), 2),
        # What was seen too long ago says nothing about the window.
        (history((300, 2)), 3),
    ],
)
def test_down_only_after_a_whole_window_that_said_so(past: tuple[Recommendation, ...], replicas: int) -> None:
    assert decide(3, figure(0.005), past).replicas == replicas


def test_down_one_at_a_time_under_traffic_and_to_the_minimum_without() -> None:
    assert decide(5, figure(0.005), history((60, 4), (30, 4))).replicas == 4
    idle = decide(5, figure(None), history((60, 1), (30, 1)))
    assert (idle.replicas, idle.reason) == (1, "ScalingDown")


def test_up_waits_for_its_window_and_takes_the_least_of_it() -> None:
    patient = bounds(up=30)
    assert decide(2, figure(0.04), history((20, 2)), within=patient).replicas == 2
    assert decide(2, figure(0.04), history((20, 3)), within=patient).replicas == 3
    assert decide(2, figure(0.04), history((40, 2), (20, 4)), within=patient).replicas == 4


def test_one_measurement_is_answered_once_however_often_the_plan_is_made() -> None:
    """A change of the Deployment wakes the operator at once, long before the next measurement."""
    slow = figure(0.2, age=1)
    first = decide(1, slow)
    assert first.replicas == 2
    again = decide(2, slow, first.history)
    assert (again.replicas, again.history) == (2, first.history)
    assert decide(2, figure(0.2, age=0), first.history).replicas == 4, "a new measurement counts anew"


def test_more_is_asked_for_only_when_what_was_asked_for_is_there() -> None:
    waiting = decide(4, figure(0.2, servers=2))
    assert (waiting.replicas, waiting.reason) == (4, "ScalingUp")
    assert decide(4, figure(0.2, servers=4)).replicas == 8


@pytest.mark.parametrize("latency", [None, figure(10.0, age=15.1)])
def test_without_fresh_figures_the_replicas_are_held(latency: SiteLatency | None) -> None:
    found = decide(5, latency, CALM)
    assert (found.replicas, found.reason, found.history) == (5, "NoMetrics", CALM)


def test_a_site_with_no_room_is_not_asked_for_more() -> None:
    found = decide(3, figure(0.06), capacity_limited=True)
    assert (found.replicas, found.reason) == (3, "CapacityLimited")
    assert decide(3, figure(0.001), history((60, 2)), capacity_limited=True).replicas == 2, "down is possible"


@pytest.mark.parametrize(("current", "replicas"), [(0, 2), (1, 2), (9, 4)])
def test_replicas_that_somebody_changed_come_back_within_bounds(current: int, replicas: int) -> None:
    assert decide(current, None, within=bounds(2, 4)).replicas == replicas


def test_a_site_starts_with_its_minimum() -> None:
    assert decide(None, figure(1.0), within=bounds(2, 4)).replicas == 2


@pytest.mark.parametrize("within", [bounds(2, 2), bounds(2, 5, target=None), bounds(2, 2, target=None)])
def test_without_a_target_or_room_the_number_is_fixed(within: Limits) -> None:
    found = decide(4, figure(1.0), within=within)
    assert (found.replicas, found.reason) == (2, "Fixed")


def test_the_history_does_not_grow_for_ever() -> None:
    long = history(*((float(age), 1) for age in range(1000, 0, -1)))
    kept = decide(1, figure(0.01), long).history
    assert kept[0].at >= after(-60) - STALE
    assert kept[-1].at == NOW


def test_limits_come_from_the_spec() -> None:
    plain = limits(edge_model().spec(), "site-a")
    assert plain == Limits(1, 1, None, 95, timedelta(0), timedelta(seconds=300))
    builder = edge_model().set(
        "scaling",
        {
            "minReplicas": 2,
            "maxReplicas": 5,
            "target": {"latency": "50ms", "percentile": 99},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
        },
    )
    assert limits(builder.spec(), "site-a") == Limits(2, 5, 0.05, 99, timedelta(0), timedelta(seconds=10))


def test_a_site_may_scale_differently() -> None:
    builder = edge_model().set("scaling", {"minReplicas": 1, "maxReplicas": 3, "target": {"latency": "50ms"}})
    override = {"site": "big", "scaling": {"minReplicas": 4, "target": {"latency": "5ms"}}}
    spec = builder.set("placement.overrides", [override, {"site": "other"}]).spec()
    assert limits(spec, "small").minimum == 1
    big = limits(spec, "big")
    assert (big.minimum, big.maximum, big.target) == (4, 4, 0.005), "a maximum below the minimum is the minimum"


@given(
    st.integers(1, 5),
    st.integers(0, 20),
    st.one_of(st.none(), st.floats(0, 100)),
    st.lists(st.tuples(st.floats(0.1, 400), st.integers(1, 20)), max_size=8),
    st.booleans(),
)
def test_the_answer_is_within_bounds_and_no_step_up_more_than_doubles(
    minimum: int, current: int, seconds: float | None, past: list[tuple[float, int]], limited: bool
) -> None:
    entries = history(*sorted(past, reverse=True))
    found = decide(current, figure(seconds), entries, within=bounds(minimum, 10), capacity_limited=limited)
    assert minimum <= found.replicas <= 10
    if not past:
        assert found.replicas <= 2 * max(current, minimum)
    if limited:
        assert found.replicas <= max(current, minimum)
