"""Histograms that cost next to nothing to observe: they are put into Prometheus's form when somebody asks.

Only the event loop's thread observes, so that there is nothing to lock.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts of values up to each bound, and beyond the last."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """A histogram without observations; ``bounds`` in ascending order."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds as Prometheus writes them, and how many values were not above each."""
        names = [str(floatToGoString(bound)) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]
        return list(zip(names, map(float, accumulate(self._counts)), strict=True))

    @property
    def sum(self) -> float:
        """The sum of all values."""
        return self._sum


class Histograms(Collector):
    """A histogram per combination of label values; without labels just one."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """A family without members, registered."""
        self._name, self._documentation = name, documentation
        self._labels = tuple(labels)
        self._bounds = bounds
        self._histograms: dict[tuple[str | int, ...], Histogram] = {}
        registry.register(self)

    def of(self, *values: str | int) -> Histogram:
        """The histogram of these label values."""
        found = self._histograms.get(values)
        if found is None:
            found = self._histograms[values] = Histogram(self._bounds)
        return found

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The family as Prometheus' client exposes it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, histogram in tuple(self._histograms.items()):
            family.add_metric([str(value) for value in values], histogram.buckets, histogram.sum)
        yield family
