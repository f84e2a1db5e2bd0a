"""What the server measures of itself, for Prometheus and for the operator's latency loop."""

from collections.abc import Sequence
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from edgemodel_contract.card import ModelCard
from edgemodel_contract.serving import IN_FLIGHT_METRIC, REQUEST_DURATION_BUCKETS, REQUEST_DURATION_METRIC
from edgemodel_server.observability.histograms import Histograms
from edgemodel_server.protocol.open_inference import MODEL_VERSION

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# A second series per histogram that nobody reads would make every scrape larger.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One registry with the server's metrics. All times are seconds."""

    def __init__(self) -> None:
        """Register everything; nothing has a label value before it happened."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histograms(
            REQUEST_DURATION_METRIC,
            "Inference requests, from the first byte read to the last byte written.",
            ("endpoint", "code"),
            REQUEST_DURATION_BUCKETS,
            self.registry,
        )
        self.in_flight = Gauge(
            IN_FLIGHT_METRIC, "Inference requests accepted and not yet answered.", registry=self.registry
        )
        self.queued = Gauge("edgemodel_queue_depth", "Inferences that wait for a worker.", registry=self.registry)
        self._queue = Histograms(
            "edgemodel_queue_duration_seconds",
            "Time an inference waited for a worker.",
            (),
            REQUEST_DURATION_BUCKETS,
            self.registry,
        ).of()
        self._compute = Histograms(
            "edgemodel_compute_duration_seconds",
            "Time the model computed.",
            (),
            REQUEST_DURATION_BUCKETS,
            self.registry,
        ).of()
        self._batch_size = Histograms(
            "edgemodel_batch_size", "Rows that were computed together.", (), BATCH_BUCKETS, self.registry
        ).of()
        self.rejected = Counter(
            "edgemodel_requests_rejected",
            "Inference requests refused without being computed, or given up, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._parts = Counter(
            "edgemodel_parts",
            "Parts of requests spread over the site, by where they were computed; retried: a peer had failed.",
            ("place", "result"),
            registry=self.registry,
        )
        self.ready = Gauge("edgemodel_ready", "1 while the server is ready for traffic.", registry=self.registry)
        self._info = Gauge(
            "edgemodel_model_info",
            "The model served; always 1.",
            ("model", "version", "digest", "source_digest", "task", "method"),
            registry=self.registry,
        )

    def serving(self, card: ModelCard, digest: str) -> None:
        """Say which model is served; ``digest`` is that of its file."""
        origin = card.provenance
        self._info.labels(card.name, MODEL_VERSION, digest, origin.source_digest, origin.task, origin.method).set(1)

    def begin(self) -> None:
        """An inference request has begun."""
        self.in_flight.inc()

    def end(self, endpoint: str, code: int, seconds: float) -> None:
        """An inference request that had begun was answered with the status ``code``."""
        self.in_flight.dec()
        self.answered(endpoint, code, seconds)

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        """A request was answered with the status ``code`` before any other was looked at."""
        self._requests.of(endpoint, code).observe(seconds)

    def reject(self, reason: str) -> None:
        """A request was refused, or given up, for ``reason``."""
        self.rejected.labels(reason).inc()

    def part(self, place: Literal["local", "peer"], result: Literal["ok", "retried"]) -> None:
        """A part of a request that is spread was computed here or by a peer, or again after a peer failed."""
        self._parts.labels(place, result).inc()

    def computed(self, rows: int, seconds: float, waits: Sequence[float]) -> None:
        """A batch of ``rows`` was computed in ``seconds``, after each of its requests had waited."""
        self._batch_size.observe(rows)
        self._compute.observe(seconds)
        for waited in waits:
            self._queue.observe(waited)

    def render(self) -> bytes:
        """The text exposition format, as CONTENT_TYPE says."""
        return generate_latest(self.registry)
