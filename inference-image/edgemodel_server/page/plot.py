"""A scatter plot's geometry: where points, ticks and the Pareto front lie. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 28, 44
"""Margins, in the same units, for the axes' texts."""
MARK = 14
"""Points nearer than this cover each other."""

Best = Literal["low", "high"]


@dataclass(frozen=True)
class Point:
    """One candidate: ``number`` is its row in the table."""

    number: int
    name: str
    x: float
    y: float
    kind: Literal["original", "chosen", "other"]


@dataclass(frozen=True)
class Mark:
    """A point where it is drawn. ``under``: the numbers of points too near to be told from it."""

    point: Point
    x: float
    y: float
    under: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tick:
    """A grid line at ``position`` and the value it stands for."""

    position: float
    value: float


@dataclass(frozen=True)
class Plot:
    """All that is drawn. ``front`` is the path of an SVG polyline through the points that nothing beats."""

    marks: tuple[Mark, ...]
    front: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def scatter(points: Sequence[Point], best: Best) -> Plot:
    """Draw ``points`` (at least one). Less is better along x; ``best`` says what is better along y."""
    x_axis = _axis([0.0, *(point.x for point in points)], LEFT, WIDTH - RIGHT)
    low = 0.0 if best == "low" else min(point.y for point in points)
    y_axis = _axis([low, *(point.y for point in points)], HEIGHT - BOTTOM, TOP)
    placed = {point.number: (_round(x_axis(point.x)), _round(y_axis(point.y))) for point in points}
    path = sorted(placed[point.number] for point in pareto_front(points, best))
    return Plot(
        marks=_marks(points, placed),
        front=" ".join(f"{x},{y}" for x, y in path),
        x_ticks=tuple(Tick(_round(x_axis(value)), value) for value in x_axis.ticks),
        y_ticks=tuple(Tick(_round(y_axis(value)), value) for value in y_axis.ticks),
    )


def pareto_front(points: Sequence[Point], best: Best) -> list[Point]:
    """The points that no other beats: none is at least as good in both figures and better in one."""
    sign = 1 if best == "low" else -1

    def beats(first: Point, second: Point) -> bool:
        a, b = (first.x, sign * first.y), (second.x, sign * second.y)
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    return [point for point in points if not any(beats(other, point) for other in points)]


def _marks(points: Sequence[Point], placed: Mapping[int, tuple[float, float]]) -> tuple[Mark, ...]:
    """A mark for each point, but one for several that would cover each other; the more important is drawn last."""
    heads: list[tuple[Point, list[int]]] = []
    for point in sorted(points, key=lambda point: ("chosen", "original", "other").index(point.kind)):
        at = placed[point.number]
        under = next((numbers for head, numbers in heads if math.dist(placed[head.number], at) < MARK), None)
        if under is None:
            heads.append((point, []))
        else:
            under.append(point.number)
    return tuple(Mark(head, *placed[head.number], tuple(sorted(under))) for head, under in reversed(heads))


@dataclass(frozen=True)
class _Axis:
    ticks: tuple[float, ...]
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    return _Axis(nice_ticks(min(values), max(values)), start, end)


def nice_ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to seven round values, evenly spaced, from at most ``low`` to at least ``high``."""
    if high <= low:
        reach = abs(low) / 100 or 1.0
        low, high = low - reach, high + reach
    rough = (high - low) / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return ticks if all(a < b for a, b in pairwise(ticks)) and len(ticks) > 1 else (low, high)


def _round(value: float) -> float:
    return round(value, 1)
