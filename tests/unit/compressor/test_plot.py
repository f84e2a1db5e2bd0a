"""The plot of cost and quality."""

import re

import pytest

from edgemodel_compressor.report.plot import Axis, Point, plot

COST = Axis("size, MB", log=True)


def line(points: list[Point], *, less: bool = False) -> int:
    """How many points the line joins; 0 without one."""
    found = re.search(r'<polyline class="front" points="([^"]*)"', plot(points, COST, Axis("quality", less=less)))
    return len(found.group(1).split()) if found else 0


def test_the_line_joins_what_is_not_beaten_in_this_plot() -> None:
    cheap, good, beaten = Point("cheap", 1, 90), Point("good", 10, 99), Point("beaten", 20, 95)
    assert line([beaten, good, cheap]) == 2
    assert line([beaten, good, cheap], less=True) == 0, "of errors, the cheapest has fewest"


@pytest.mark.parametrize("points", [[Point("only", 1, 1)], [Point("a", 2, 5), Point("b", 2, 5)], [Point("a", 1, 0)]])
def test_points_that_do_not_spread_are_drawn_all_the_same(points: list[Point]) -> None:
    picture = plot(points, COST, Axis("quality"))
    assert picture.count("<circle") == len(points)
    assert "nan" not in picture


def test_labels_are_text() -> None:
    assert "<b>" not in plot([Point("<b>", 1, 1, chosen=True), Point("original", 2, 2)], COST, Axis("<i>"))
