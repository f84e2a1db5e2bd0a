"""A rolling restart of two replicas under steady load, as a Kubernetes Service goes through it.

Like kube-proxy, the balancer here chooses a replica for each new connection and leaves open ones alone. A replica
joins when it is ready. It leaves a while after it was told to end, because endpoints take that long to reach every
node. Every request counts: none is sent twice.
"""

import asyncio
from itertools import count

from tests.bench.report import Goal
from tests.bench.serving import load, models
from tests.bench.serving.models import BenchModel
from tests.bench.serving.processes import Server, edgemodel
from tests.bench.serving.requests import json_request
from tests.bench.serving.section import Section, Setting, duration

RATE = 500.0
PROPAGATION_SECONDS = 1.0
DRAIN = "3s"


class Replicas:
    """Two servers, replaced one after the other."""

    def __init__(self, model: BenchModel, setting: Setting) -> None:
        self._model = model
        self._cpus = setting.cpus.server
        self._servers: list[Server] = []
        self.ports: list[int] = []
        self.restarts = 0
        self.exit_codes: list[int] = []

    async def start(self) -> None:
        """One more; returns when it is ready and takes connections."""
        server = edgemodel(self._model, self._cpus, EDGEMODEL_DRAIN=DRAIN)
        self._servers.append(server)
        await asyncio.to_thread(server.wait_until_ready, interval=0.05)
        self.ports.append(server.port)

    async def roll(self) -> None:
        """Replace every server there is: first its successor, then its end."""
        for old in list(self._servers):
            await self.start()
            ended = asyncio.create_task(asyncio.to_thread(old.stop))
            await asyncio.sleep(PROPAGATION_SECONDS)
            self.ports.remove(old.port)
            self.exit_codes.append(await ended)
            self._servers.remove(old)
            self.restarts += 1

    def stop(self) -> None:
        """End all."""
        for server in self._servers:
            server.stop()


def rolling_restart(setting: Setting) -> Section:
    """The small model over REST, at a steady rate, while both replicas are replaced again and again."""
    model = models.mlp()
    replicas = Replicas(model, setting)
    # A little longer than needed on average, because the requests come at random.
    seconds = 1.03 * setting.restart_requests / RATE
    result = asyncio.run(_measure(replicas, json_request(model), seconds))
    total = len(result.answers) + result.unanswered
    failed = total - result.statuses().get(200, 0)
    section = Section(
        "Rolling restart of two replicas under steady load",
        [
            ("", "measured"),
            ("requests", f"{total:,} at {total / seconds:.0f}/s"),
            ("restarts", str(replicas.restarts)),
            ("failed", str(failed)),
            ("p50, p99", f"{duration(result.latency(0.5))}, {duration(result.latency(0.99))}"),
        ],
    )
    section.goals.append(Goal(f"rolling restart: failed requests of {total:,}", failed, 0))
    section.details = {"statuses": result.statuses(), "unanswered": result.unanswered, "exitCodes": replicas.exit_codes}
    if not replicas.restarts:
        raise RuntimeError("no replica was restarted in the time of the load")
    return section


async def _measure(replicas: Replicas, request: bytes, seconds: float) -> load.Result:
    try:
        await replicas.start()
        await replicas.start()
        loading = asyncio.create_task(load.open_loop(lambda: replicas.ports, request, RATE, seconds))
        for _ in count():
            await replicas.roll()
            if loading.done():
                break
        return await loading
    finally:
        await asyncio.to_thread(replicas.stop)
