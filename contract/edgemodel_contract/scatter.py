"""A scatter plot's geometry: where points, ticks and the Pareto front lie. Pure; templates draw it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from edgemodel_contract.pareto import pareto_front

Best = Literal["low", "high"]
Kind = Literal["chosen", "original", "best", "other"]
"""What a point stands for, the most important first."""
_KINDS: tuple[Kind, ...] = ("chosen", "original", "best", "other")


@dataclass(frozen=True)
class Frame:
    """The size of a plot, and its margins for the axes' texts."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Point:
    """One candidate. ``number`` is its row in a table; ``low`` and ``high`` bound ``y``, where that is known."""

    number: int
    name: str
    x: float
    y: float
    kind: Kind
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A point where it is drawn. ``under``: the numbers of points too near to be told from it."""

    point: Point
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    under: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tick:
    """A grid line at ``position`` and the value it stands for."""

    position: float
    value: float


@dataclass(frozen=True)
class Plot:
    """All that is drawn. ``front`` is the path of an SVG polyline through the points that nothing beats; empty where
    there is one only.
    """

    frame: Frame
    marks: tuple[Mark, ...]
    front: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def scatter(points: Sequence[Point], best: Best, frame: Frame, *, log: bool = False, apart: float = 0.0) -> Plot:
    """Draw ``points`` (at least one). Less is better along x; ``best`` says what is better along y.

    ``log`` spreads x by factors, else it begins at 0. Of points nearer than ``apart`` only the most important is drawn.
    """
    across = [point.x for point in points]
    along = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    if best == "low":
        along.append(0.0)
    x_range = (frame.left, frame.width - frame.right)
    x_axis = _log_axis(across, *x_range) if log and min(across) > 0 else _axis([0.0, *across], *x_range)
    y_axis = _axis(along, frame.height - frame.bottom, frame.top)
    placed = {point.number: (_round(x_axis(point.x)), _round(y_axis(point.y))) for point in points}
    sign = 1 if best == "low" else -1
    front = sorted({placed[key] for key in pareto_front({item.number: (item.x, sign * item.y) for item in points})})
    return Plot(
        frame=frame,
        marks=_marks(points, placed, y_axis, apart),
        front=" ".join(f"{x},{y}" for x, y in front) if len(front) > 1 else "",
        x_ticks=tuple(Tick(_round(x_axis(value)), value) for value in x_axis.ticks),
        y_ticks=tuple(Tick(_round(y_axis(value)), value) for value in y_axis.ticks),
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        share = (self._bend(value) - self._bend(self.low)) / (self._bend(self.high) - self._bend(self.low))
        return self.start + share * (self.end - self.start)

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    ticks = nice_ticks(min(values), max(values))
    return _Axis(ticks[0], ticks[-1], start, end, ticks)


def _log_axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values) / 1.25, max(values) * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = tuple(step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high)
    return _Axis(low, high, start, end, ticks, log=True)


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


def _marks(
    points: Sequence[Point], placed: Mapping[int, tuple[float, float]], y_axis: _Axis, apart: float
) -> tuple[Mark, ...]:
    """A mark for each point, but one for several that would cover each other; the more important is drawn last."""
    heads: list[tuple[Point, list[int]]] = []
    for point in sorted(points, key=lambda point: _KINDS.index(point.kind)):
        at = placed[point.number]
        under = next((numbers for head, numbers in heads if math.dist(placed[head.number], at) < apart), None)
        if under is None:
            heads.append((point, []))
        else:
            under.append(point.number)
    return tuple(
        Mark(
            head,
            *placed[head.number],
            low=None if head.low is None else _round(y_axis(head.low)),
            high=None if head.high is None else _round(y_axis(head.high)),
            under=tuple(sorted(under)),
        )
        for head, under in reversed(heads)
    )


def _round(value: float) -> float:
    return round(value, 1)
