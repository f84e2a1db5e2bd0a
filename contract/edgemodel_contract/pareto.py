"""The Pareto front: what no other beats in everything."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

K = TypeVar("K")


def pareto_front(points: Mapping[K, Sequence[float]]) -> frozenset[K]:
    """Keys of the points that no other is at least as low as in every figure, and lower in one. Equal points stay."""
    return frozenset(key for key, point in points.items() if not any(_beats(other, point) for other in points.values()))


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return tuple(one) != tuple(other) and all(a <= b for a, b in zip(one, other, strict=True))
