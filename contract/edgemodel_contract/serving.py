"""What the operator and the inference server agree on: ports, paths, metric names, and the Job's timings."""

from urllib.parse import quote

from edgemodel_contract.base import Struct

HTTP_PORT = 8080
"""REST; over TLS where it is configured. Health and metrics are here too."""
GRPC_PORT = 8081
"""gRPC, ``inference.GRPCInferenceService``; over TLS where it is configured."""
ADMIN_PORT = 8082
"""Health and metrics alone, always plain HTTP and without keys: for probes and scrapers, not for users."""
TLS_DIR = "/etc/edgemodel/tls"
"""Mount of ``spec.serving.tls``: ``tls.crt``, ``tls.key``; with ``ca.crt``, clients must show a certificate of it."""
AUTH_DIR = "/etc/edgemodel/auth"
"""Mount of ``spec.serving.auth``: one file per client, named for it; its content is the client's key or token."""
LIVE_PATH = "/v2/health/live"
READY_PATH = "/v2/health/ready"
METRICS_PATH = "/metrics"
MODEL_PATH = "/v2/models/{name}"
VERSION_PATH = f"{MODEL_PATH}/versions/{{version}}"
INFER = "/infer"
"""Of the Open Inference Protocol: a model, one version of it, and below either what requests go to."""
ORIGIN = r"\*|https?://[^/\s,]+"
"""Of a web page, as browsers send it: scheme and host, and a port that is not the scheme's; ``*``: any."""

REQUEST_DURATION_METRIC = "edgemodel_request_duration_seconds"
"""Histogram of served inference requests, from the first byte read to the last byte written; label ``endpoint``
(``infer`` or ``predict``) and ``code`` (HTTP status). Seconds."""
REQUEST_DURATION_BUCKETS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    2.0,
    5.0,
    10.0,
)
"""Upper bounds in seconds: dense where a 5G edge promises latencies, a factor of at most 2 below one second."""
THREADS_VARIABLE = "EDGEMODEL_THREADS"
DRAIN_VARIABLE = "EDGEMODEL_DRAIN"
MAX_BATCH_SIZE_VARIABLE = "EDGEMODEL_MAX_BATCH_SIZE"
MAX_BATCH_DELAY_VARIABLE = "EDGEMODEL_MAX_BATCH_DELAY"
TLS_DIR_VARIABLE = "EDGEMODEL_TLS_DIR"
AUTH_DIR_VARIABLE = "EDGEMODEL_AUTH_DIR"
RATE_LIMIT_VARIABLE = "EDGEMODEL_RATE_LIMIT"
CORS_ORIGINS_VARIABLE = "EDGEMODEL_CORS_ORIGINS"
PEERS_VARIABLE = "EDGEMODEL_PEERS"
"""Environment variables of the server that the operator sets; `edgemodel-serve --help` says what they do."""
TIMINGS_VARIABLE = "EDGEMODEL_TIMINGS"
"""The server's environment variable with ``Timings`` as JSON."""
IN_FLIGHT_METRIC = "edgemodel_requests_in_flight"
"""Gauge: inference requests accepted and not yet answered."""


def infer_path(model: str) -> str:
    """Where inference requests for ``model`` go."""
    return MODEL_PATH.format(name=quote(model, safe="")) + INFER


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds of one inference, batch of one."""

    latency_p50: float
    latency_p95: float


class Timings(Struct, frozen=True, kw_only=True):
    """What the compression Job's clock said of the model before and after.

    It differs from run to run, so it is not in the image, whose digest would too; the server is told of it beside.
    """

    original: Timing
    chosen: Timing
    threads: int
    cpu: str = ""
