"""The operator's own metrics and health, for Prometheus and the kubelet."""

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

STUCK_SECONDS = 120.0
"""Work that waits so long with none finished means that the process is of no use any more."""


class Metrics:
    """One registry of its own, so that tests can have several."""

    def __init__(self, queue_depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._queue_depth = queue_depth
        self._last_finished = time.monotonic()
        self._reconciles = Counter(
            "edgemodel_operator_reconciles_total", "Reconciles by result", ["result"], registry=self.registry
        )
        self._duration = Histogram(
            "edgemodel_operator_reconcile_duration_seconds",
            "Time of one reconcile",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self._calls = Counter(
            "edgemodel_operator_api_requests_total",
            "Requests to the Kubernetes API by verb and HTTP status (0: no answer)",
            ["verb", "code"],
            registry=self.registry,
        )
        self._call_duration = Histogram(
            "edgemodel_operator_api_request_duration_seconds",
            "Time of one request to the Kubernetes API",
            ["verb"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        depth = Gauge("edgemodel_operator_queue_depth", "EdgeModels that wait for a worker", registry=self.registry)
        depth.set_function(queue_depth)
        self._leader = Gauge(
            "edgemodel_operator_leader", "1 while this process holds the Lease and works", registry=self.registry
        )
        self._models = Gauge("edgemodel_operator_models", "EdgeModels that are known", registry=self.registry)

    def api_call(self, verb: str, code: int, seconds: float) -> None:
        """Count a call to the API server."""
        self._calls.labels(verb, str(code)).inc()
        self._call_duration.labels(verb).observe(seconds)

    def leads(self, now: bool) -> None:
        """Whether this process works or waits for its turn."""
        self._leader.set(now)

    def reconciled(self, seconds: float, error: bool, models: int) -> None:
        """Count a reconcile. One that failed shows, too, that the workers are alive."""
        self._reconciles.labels("error" if error else "success").inc()
        self._duration.observe(seconds)
        self._models.set(models)
        self._last_finished = time.monotonic()

    def stuck(self) -> bool:
        """Whether work waits and none was finished for a long time."""
        if not self._queue_depth():
            self._last_finished = time.monotonic()
        return time.monotonic() - self._last_finished > STUCK_SECONDS

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        if self.stuck():
            return web.Response(status=503, text=f"no reconcile finished for {STUCK_SECONDS:.0f} s\n")
        return web.Response(text="ok\n")

    async def serve(self, port: int) -> web.AppRunner:
        """Listen on all addresses. Raises OSError if the port is taken."""
        application = web.Application()
        application.router.add_get("/metrics", self._page)
        application.router.add_get("/healthz", self._health)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, port=port).start()
        return runner
