"""An HTTP server with nothing but the metrics page of an inference server, on a loopback address of its own."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from edgemodel_contract.serving import ADMIN_PORT, METRICS_PATH, REQUEST_DURATION_BUCKETS, REQUEST_DURATION_METRIC

_addresses = (f"127.66.{number // 250}.{number % 250 + 1}" for number in itertools.count())

REQUESTS_PER_SCRAPE = 20


class SlowServer:
    """Between two scrapes it has answered a number of requests, each in ``latency`` seconds; None: no requests."""

    def __init__(self) -> None:
        self.ip = next(_addresses)
        self.latency: float | None = None
        self._registry = CollectorRegistry()
        self._histogram = Histogram(
            REQUEST_DURATION_METRIC,
            "Served requests",
            ["endpoint", "code"],
            buckets=REQUEST_DURATION_BUCKETS,
            registry=self._registry,
        )

    def page(self) -> bytes:
        """The metrics after the requests since the last look."""
        if self.latency is not None:
            for _ in range(REQUESTS_PER_SCRAPE):
                self._histogram.labels("infer", "200").observe(self.latency)
        return generate_latest(self._registry)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Listen at ``ip`` where scrapers ask. OSError if another program listens on all addresses there."""
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == METRICS_PATH else 404)
                self.end_headers()
                self.wfile.write(metrics.page())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer((self.ip, ADMIN_PORT), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
