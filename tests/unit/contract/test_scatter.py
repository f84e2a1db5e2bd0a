"""Plots of candidates, and which of them nothing beats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.pareto import pareto_front
from edgemodel_contract.scatter import Best, Frame, Point, nice_ticks, scatter

FRAME = Frame(width=360, height=250, left=52, right=20, top=28, bottom=44)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 44.7, (0, 20, 40, 60)),
        (0, 1.64, (0, 0.5, 1, 1.5, 2)),
        (96.22, 99.13, (96, 97, 98, 99, 100)),
        (5, 5, (4.95, 4.975, 5, 5.025, 5.05)),
        (0, 0, (-1, -0.5, 0, 0.5, 1)),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


points = st.lists(
    st.tuples(st.floats(0, 1e9, allow_subnormal=False), st.floats(0, 1e9, allow_subnormal=False)),
    min_size=1,
    max_size=8,
).map(lambda pairs: [Point(number, f"p{number}", x, y, "other") for number, (x, y) in enumerate(pairs, 1)])


@given(points, st.sampled_from(["low", "high"]), st.sampled_from([0.0, 14.0]))
def test_every_point_is_in_the_plot_once_and_within_it(given_points: list[Point], best: Best, apart: float) -> None:
    plot = scatter(given_points, best, FRAME, apart=apart)
    drawn = [number for mark in plot.marks for number in (mark.point.number, *mark.under)]
    assert sorted(drawn) == [point.number for point in given_points]
    assert all(52 <= mark.x <= 340 and 28 <= mark.y <= 206 for mark in plot.marks)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(figures: list[tuple[int, int, int]]) -> None:
    front = pareto_front(dict(enumerate(figures)))
    assert front
    for key, point in enumerate(figures):
        beaten = any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in figures)
        assert (key in front) is not beaten


def drawn_front(points: list[Point], best: Best = "high") -> int:
    return len(scatter(points, best, FRAME, log=True).front.split())


def test_the_line_joins_what_is_not_beaten_in_this_plot() -> None:
    cheap, good, beaten = Point(1, "a", 1, 90, "other"), Point(2, "b", 10, 99, "best"), Point(3, "c", 20, 95, "other")
    assert drawn_front([beaten, good, cheap]) == 2
    assert drawn_front([beaten, good, cheap], "low") == 0, "of errors, the cheapest has fewest"
    assert drawn_front([Point(1, "a", 2, 5, "other"), Point(2, "b", 2, 5, "other")]) == 0, "one place is no line"


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=8))
def test_costs_that_differ_by_factors_are_spread_by_them(costs: list[float]) -> None:
    plot = scatter(
        [Point(n, "", cost, 1.0, "other", 0.9, 1.1) for n, cost in enumerate(costs)], "high", FRAME, log=True
    )
    places = sorted((mark.point.x, mark.x) for mark in plot.marks)
    assert [x for _, x in places] == sorted(x for _, x in places)
    for mark in plot.marks:
        assert mark.low is not None
        assert mark.high is not None
        assert 52 <= mark.x <= 340
        assert 28 <= mark.high <= mark.y <= mark.low <= 206
