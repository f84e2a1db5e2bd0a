"""The latency that users feel, per site: scraped from the servers' own histograms, straight from their pods."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from edgemodel_contract.serving import ADMIN_PORT, METRICS_PATH, REQUEST_DURATION_METRIC
from edgemodel_operator.kube.cache import Key
from edgemodel_operator.observed import SiteLatency
from edgemodel_operator.plan.policy.histogram import Buckets, difference, quantile, total

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=2)
LARGEST_PAGE = 1 << 20
PARALLEL = 32


@dataclass(frozen=True)
class Target:
    """One inference pod to read, and the percentile its EdgeModel asks for."""

    key: Key
    site: str
    pod: str
    ip: str
    percentile: int


@dataclass(frozen=True)
class _Reading:
    at: datetime
    buckets: Buckets


class Latencies:
    """Reads all targets each round and keeps the readings of one window: a cache, rebuilt after a restart."""

    def __init__(
        self,
        targets: Callable[[], Iterable[Target]],
        window_seconds: float,
        now: Callable[[], datetime],
        port: int = ADMIN_PORT,
    ) -> None:
        self._targets = targets
        self._window = window_seconds
        self._now = now
        self._port = port
        self._readings: dict[tuple[Key, str, str], deque[_Reading]] = {}
        self._servers: dict[tuple[Key, str], set[str]] = {}
        self._figures: dict[Key, dict[str, SiteLatency]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(PARALLEL)

    def of(self, key: Key) -> dict[str, SiteLatency]:
        """Figures of an EdgeModel by site; the reader judges their age."""
        return self._figures.get(key, {})

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def scrape(self) -> set[Key]:
        """One round. Answers the EdgeModels that have figures now."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        targets = list(self._targets())
        answers = await asyncio.gather(*(self._read(self._session, target) for target in targets))
        now = self._now()
        self._keep_same_servers(targets)
        sites: dict[tuple[Key, str, int], list[tuple[Buckets, float]]] = {}
        for target, buckets in zip(targets, answers, strict=True):
            if buckets is None:
                continue
            delta = self._advance(target, _Reading(now, buckets))
            if delta is not None:
                sites.setdefault((target.key, target.site, target.percentile), []).append(delta)
        figures: dict[Key, dict[str, SiteLatency]] = {}
        for (key, site, percentile), deltas in sites.items():
            histogram = total(buckets for buckets, _ in deltas)
            seconds = max(duration for _, duration in deltas)
            count = histogram.get(float("inf"), 0.0)
            figures.setdefault(key, {})[site] = SiteLatency(
                seconds=quantile(histogram, percentile / 100),
                requests_per_second=count / seconds,
                servers=len(deltas),
                at=now,
            )
        for key in {target.key for target in targets}:
            # A site that did not answer keeps its last figures, which grow stale.
            self._figures[key] = self._figures.get(key, {}) | figures.get(key, {})
        self._figures = {key: kept for key, kept in self._figures.items() if key in {t.key for t in targets}}
        return set(figures)

    def _keep_same_servers(self, targets: list[Target]) -> None:
        """Start a site's window anew when its replicas change: what fewer of them measured says nothing about more."""
        servers: dict[tuple[Key, str], set[str]] = {}
        for target in targets:
            servers.setdefault((target.key, target.site), set()).add(target.pod)
        kept = {site: pods for site, pods in servers.items() if self._servers.get(site) == pods}
        self._readings = {name: old for name, old in self._readings.items() if (name[0], name[1]) in kept}
        self._servers = servers

    def _advance(self, target: Target, reading: _Reading) -> tuple[Buckets, float] | None:
        readings = self._readings.setdefault((target.key, target.site, target.pod), deque())
        if readings and difference(reading.buckets, readings[-1].buckets) is None:
            readings.clear()
        readings.append(reading)
        while len(readings) > 2 and (reading.at - readings[1].at).total_seconds() >= self._window:
            readings.popleft()
        first = readings[0]
        duration = (reading.at - first.at).total_seconds()
        delta = difference(reading.buckets, first.buckets)
        return None if delta is None or duration <= 0 else (delta, duration)

    async def _read(self, session: aiohttp.ClientSession, target: Target) -> Buckets | None:
        host = f"[{target.ip}]" if ":" in target.ip else target.ip
        url = f"http://{host}:{self._port}{METRICS_PATH}"
        try:
            async with self._places, session.get(url) as response:
                response.raise_for_status()
                page = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    page += chunk
                    if len(page) > LARGEST_PAGE:
                        log.debug("no metrics from pod %s: more than %d bytes", target.pod, LARGEST_PAGE)
                        return None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.debug("no metrics from pod %s: %s", target.pod, error)
            return None
        return parse(page.decode(errors="replace"))


def parse(page: str) -> Buckets | None:
    """The request duration histogram of a metrics page, summed over its labels; None if the page has none.

    A server that has answered nothing yet declares it without samples: then it is empty.
    """
    lines = [line for line in page.splitlines() if REQUEST_DURATION_METRIC in line]
    if f"# TYPE {REQUEST_DURATION_METRIC} histogram" not in lines:
        return None
    buckets: dict[float, float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                if sample.name == f"{REQUEST_DURATION_METRIC}_bucket":
                    bound = float(sample.labels["le"])
                    buckets[bound] = buckets.get(bound, 0.0) + sample.value
    except (ValueError, KeyError):
        return None
    return buckets
