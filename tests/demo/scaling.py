"""A bounded load on one site, and the replicas that its measured latency asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import httpx

from edgemodel_contract.serving import infer_path
from edgemodel_operator.api import SiteStatus
from tools.localcluster import ClusterError

from .sample import HeldOutImage
from .served import infer_request

# A gateway that sends eight digits in one request costs the server several times what it costs the client: the
# bottleneck is the replica, and its latency is what the client's number of open requests makes it.
CONCURRENCY = 32
BATCH = 8
_SHOWN_SECONDS = 6.0
_UP_SECONDS = 90.0
_DOWN_SECONDS = 120.0
_EVERY = 1.0


@dataclass(frozen=True)
class Moment:
    """The site at one time. ``at`` counts seconds from the beginning of the load."""

    at: float
    replicas: int
    latency: str
    """As the operator measured it; empty without traffic."""


@dataclass(frozen=True)
class Scaled:
    """Replicas over time: one Moment per change, the first at 0."""

    moments: Sequence[Moment]
    load_ended: float
    """Seconds from the beginning of the load."""
    answered: int
    """Requests that were answered."""


async def scale_up_and_down(
    url: str,
    model: str,
    images: Sequence[HeldOutImage],
    least: int,
    read: Callable[[], SiteStatus],
    show: Callable[[str], None],
) -> Scaled:
    """Wait until the site rests at `least` replicas, load it until it has more, then wait until it is back.

    Args:
        url: the site's Service.
        read: reads the site's status from the cluster.
        show: gets one line of text now and then.

    Raises:
        ClusterError: the replicas did not rise under load, did not come back, or a request failed.
    """
    load = _Load(url, model, images)
    hint = f"`kubectl describe edgemodel {model} -n demo` says what the operator measured."
    began = time.monotonic()
    moments: list[Moment] = []

    async def watch(done: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            load.check()
            site = await asyncio.to_thread(read)
            at = time.monotonic() - began
            if not moments or site.ready_replicas != moments[-1].replicas:
                moments.append(Moment(at, site.ready_replicas, _latency(site)))
            if done():
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"{site.name} {otherwise} within {seconds:.0f} s; {hint}")
            show(f"{at:.0f} s: {site.ready_replicas} ready, p95 {_latency(site) or 'none'}")
            await asyncio.sleep(_EVERY)

    def at_rest() -> bool:
        return moments[-1].replicas <= least

    def risen() -> bool:
        # Long enough at its height to be seen in a dashboard, and to show that it stays there.
        return not at_rest() and time.monotonic() - began - moments[-1].at > _SHOWN_SECONDS

    await watch(at_rest, _DOWN_SECONDS, f"did not come to rest at {least} replicas before the load")
    began = time.monotonic()
    moments = [Moment(0.0, moments[-1].replicas, "")]
    async with load.running():
        await watch(risen, _UP_SECONDS, f"stayed at {least} replicas under {CONCURRENCY} requests at a time")
    ended = time.monotonic() - began
    await watch(at_rest, _DOWN_SECONDS, f"did not come back to {least} replicas after the load")
    return Scaled(moments, ended, load.answered)


class _Load:
    """Workers that send one request after the other while `running`; any that fails is an error of the demo."""

    def __init__(self, url: str, model: str, images: Sequence[HeldOutImage]) -> None:
        self._url = url + infer_path(model)
        self._body = json.dumps(infer_request(images[:BATCH])).encode()
        self._workers: list[asyncio.Task[None]] = []
        self.answered = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # Connections stay with the replica they were opened to: a new one each time lets new replicas help.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=30, limits=limits) as client:
            self._workers = [asyncio.create_task(self._work(client)) for _ in range(CONCURRENCY)]
            try:
                yield
                self.check()
            finally:
                for worker in self._workers:
                    worker.cancel()
                await asyncio.gather(*self._workers, return_exceptions=True)

    def check(self) -> None:
        """Raise ClusterError when a request has failed."""
        for worker in self._workers:
            if worker.done() and not worker.cancelled() and (error := worker.exception()) is not None:
                raise ClusterError(
                    f"A request under load failed after {self.answered} good ones: {error!r}."
                ) from error

    async def _work(self, client: httpx.AsyncClient) -> None:
        while True:
            answer = await client.post(self._url, content=self._body, headers={"Content-Type": "application/json"})
            answer.raise_for_status()
            self.answered += 1


def _latency(site: SiteStatus) -> str:
    return site.latency if isinstance(site.latency, str) else ""
