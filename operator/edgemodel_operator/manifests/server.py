"""What the inference server is told: its variables, its ports, and the Secrets it reads."""

from typing import Any

from edgemodel_contract.encoding import encode
from edgemodel_contract.fields import Resources
from edgemodel_contract.quantity import parse_duration
from edgemodel_contract.serving import (
    ADMIN_PORT,
    AUTH_DIR,
    AUTH_DIR_VARIABLE,
    CORS_ORIGINS_VARIABLE,
    DRAIN_VARIABLE,
    GRPC_PORT,
    HTTP_PORT,
    MAX_BATCH_DELAY_VARIABLE,
    MAX_BATCH_SIZE_VARIABLE,
    PEERS_VARIABLE,
    RATE_LIMIT_VARIABLE,
    THREADS_VARIABLE,
    TIMINGS_VARIABLE,
    TLS_DIR,
    TLS_DIR_VARIABLE,
    Timing,
    Timings,
)
from edgemodel_contract.spec import threads
from edgemodel_contract.written import write_duration
from edgemodel_operator.api import EnvVar, Serving, TimingsStatus, TimingStatus
from edgemodel_operator.manifests.pod_template import variables

DRAIN_SECONDS = 5.0


def ports() -> list[dict[str, Any]]:
    """For users ``http`` and ``grpc``, for probes and scrapers ``admin``."""
    numbers = {"http": HTTP_PORT, "grpc": GRPC_PORT, "admin": ADMIN_PORT}
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in numbers.items()]


def environment(
    serving: Serving,
    resources: Resources,
    peers: str | None,
    timings: TimingsStatus | None,
    own: tuple[EnvVar, ...],
) -> list[dict[str, Any]]:
    """``peers`` is the DNS name of the site's replicas, None where they do not help each other; ``timings`` are those
    of the image. What the user's ``own`` variables set is theirs.
    """
    values = {THREADS_VARIABLE: str(threads(resources)), DRAIN_VARIABLE: write_duration(DRAIN_SECONDS)}
    if serving.batching is not None:
        values[MAX_BATCH_SIZE_VARIABLE] = str(serving.batching.max_batch_size)
        values[MAX_BATCH_DELAY_VARIABLE] = write_duration(serving.batching.max_delay)
    if serving.tls is not None:
        values[TLS_DIR_VARIABLE] = TLS_DIR
    if serving.auth is not None:
        values[AUTH_DIR_VARIABLE] = AUTH_DIR
        if serving.auth.requests_per_minute is not None:
            values[RATE_LIMIT_VARIABLE] = _plain(serving.auth.requests_per_minute / 60)
    if serving.cors_origins:
        values[CORS_ORIGINS_VARIABLE] = ",".join(serving.cors_origins)
    if peers is not None:
        values[PEERS_VARIABLE] = peers
    if timings is not None:
        values[TIMINGS_VARIABLE] = encode(_in_seconds(timings)).decode()
    return variables(own, values)


def _in_seconds(timings: TimingsStatus) -> Timings:
    def timing(status: TimingStatus) -> Timing:
        return Timing(latency_p50=parse_duration(status.latency_p50), latency_p95=parse_duration(status.latency_p95))

    return Timings(
        original=timing(timings.original),
        chosen=timing(timings.chosen),
        threads=timings.threads,
        cpu=timings.cpu or "",
    )


def volumes(serving: Serving) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts: whole folders, so that the kubelet renews the files when a Secret changes."""
    secrets = []
    if serving.tls is not None:
        secrets.append(("tls", serving.tls.secret_ref.name, TLS_DIR))
    if serving.auth is not None:
        secrets.append(("auth", serving.auth.secret_ref.name, AUTH_DIR))
    return (
        [{"name": name, "secret": {"secretName": secret}} for name, secret, _ in secrets],
        [{"name": name, "mountPath": path, "readOnly": True} for name, _, path in secrets],
    )


def _plain(rate: float) -> str:
    """A number of requests per second without an exponent, which settings do not have."""
    return f"{rate:.6f}".rstrip("0").rstrip(".")
