"""The Pareto plot: every candidate by what it costs and how good it is, as SVG. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 24, 52


@dataclass(frozen=True)
class Point:
    """A candidate at ``x``, the cost, and ``y``, the quality; ``low`` and ``high`` bound the quality, where known."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    best: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Axis:
    """A name with its unit. ``log`` spreads what differs by factors; ``less`` is better, or more is."""

    name: str
    log: bool = False
    less: bool = False


def plot(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> str:
    """``<svg>`` with a dot per point and a title on each, the chosen one marked, and a line through the front.

    The front are the points that no other is at once cheaper and better than.
    """
    xs = _scale([point.x for point in points], LEFT, WIDTH - RIGHT, log=x_axis.log)
    ys = _scale(
        [value for point in points for value in (point.y, point.low, point.high) if value is not None],
        HEIGHT - BOTTOM,
        TOP,
    )
    front = _front(points, less=y_axis.less)
    title = escape(f"{y_axis.name} over {x_axis.name}")
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        *_grid(xs, ys, x_axis, y_axis),
    ]
    if len(front) > 1:
        path = " ".join(f"{xs.at(point.x):.1f},{ys.at(point.y):.1f}" for point in front)
        parts.append(f'<polyline class="front" points="{path}"/>')
    for point in sorted(points, key=lambda item: (item.chosen, item.best)):
        parts += _dot(point, xs, ys)
    return "".join([*parts, "</svg>"])


def _front(points: Sequence[Point], *, less: bool) -> list[Point]:
    sign = -1.0 if less else 1.0
    found: list[Point] = []
    for point in sorted(points, key=lambda item: (item.x, -sign * item.y)):
        if not found or sign * point.y > sign * found[-1].y:
            found.append(point)
    return found


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of ``value``."""
        share = (self._bend(value) - self._bend(self.low)) / (self._bend(self.high) - self._bend(self.low))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """About five round values in range."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
            return [value for value in found if self.low <= value <= self.high]
        raw = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step) + 1)]

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _scale(values: Sequence[float], start: float, end: float, *, log: bool = False) -> _Scale:
    low, high = min(values), max(values)
    if log and low > 0:
        return _Scale(low / 1.25, high * 1.25, start, end, log=True)
    margin = (high - low) * 0.08 or abs(high) * 0.01 or 1.0
    return _Scale(low - margin, high + margin, start, end)


def _grid(xs: _Scale, ys: _Scale, x_axis: Axis, y_axis: Axis) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = []
    for value in xs.ticks():
        x = xs.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:.4g}</text>')
    for value in ys.ticks():
        y = ys.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_axis.name)}</text>')
    parts.append(
        f'<text class="axis" x="16" y="{(TOP + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {(TOP + bottom) / 2})">{escape(y_axis.name)}</text>'
    )
    return parts


def _dot(point: Point, xs: _Scale, ys: _Scale) -> list[str]:
    x, y = xs.at(point.x), ys.at(point.y)
    parts = []
    if point.low is not None and point.high is not None:
        low, high = ys.at(point.low), ys.at(point.high)
        parts.append(f'<line class="interval" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>')
    kind = "chosen" if point.chosen else "best" if point.best else "other"
    radius = 7 if point.chosen else 5
    label = escape(point.label)
    parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{label}</title></circle>')
    if point.chosen or point.label == "original":
        anchor, shift = ("end", -10) if x > WIDTH / 2 else ("start", 10)
        parts.append(f'<text class="label" x="{x + shift:.1f}" y="{y + 22:.1f}" text-anchor="{anchor}">{label}</text>')
    return parts
