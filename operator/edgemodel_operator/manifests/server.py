"""What the inference server is told: its variables, its ports, and the Secrets it reads."""

from typing import Any

from msgspec import UNSET, UnsetType

from edgemodel_contract.encoding import encode
from edgemodel_contract.quantity import parse_duration
from edgemodel_contract.serving import (
    ADMIN_PORT,
    AUTH_DIR,
    GRPC_PORT,
    HTTP_PORT,
    TIMINGS_VARIABLE,
    TLS_DIR,
    Timing,
    Timings,
)
from edgemodel_operator.api import EnvVar, Resources, Serving, TimingsStatus, TimingStatus
from edgemodel_operator.manifests.resources import threads

DRAIN_SECONDS = 5


def ports() -> list[dict[str, Any]]:
    """For users ``http`` and ``grpc``, for probes and scrapers ``admin``."""
    numbers = {"http": HTTP_PORT, "grpc": GRPC_PORT, "admin": ADMIN_PORT}
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in numbers.items()]


def environment(
    serving: Serving,
    resources: Resources,
    peers: str | None,
    timings: TimingsStatus | UnsetType,
    own: tuple[EnvVar, ...],
) -> list[dict[str, str]]:
    """``peers`` is the DNS name of the site's replicas, None where they do not help each other; ``timings`` are those
    of the image. What the user's ``own`` variables set is theirs.
    """
    values = {"EDGEMODEL_THREADS": str(threads(resources)), "EDGEMODEL_DRAIN_SECONDS": str(DRAIN_SECONDS)}
    if serving.batching is not UNSET:
        values["EDGEMODEL_MAX_BATCH_SIZE"] = str(serving.batching.max_batch_size)
        values["EDGEMODEL_MAX_BATCH_DELAY_SECONDS"] = str(parse_duration(serving.batching.max_delay))
    if serving.tls is not UNSET:
        values["EDGEMODEL_TLS_DIR"] = TLS_DIR
    if serving.auth is not UNSET:
        values["EDGEMODEL_AUTH_DIR"] = AUTH_DIR
        if serving.auth.rate_limit is not UNSET:
            values["EDGEMODEL_RATE_LIMIT"] = f"{serving.auth.rate_limit:g}"
    if serving.cors_origins is not UNSET:
        values["EDGEMODEL_CORS_ORIGINS"] = ",".join(serving.cors_origins)
    if peers is not None:
        values["EDGEMODEL_PEERS"] = peers
    if timings is not UNSET:
        values[TIMINGS_VARIABLE] = encode(_in_seconds(timings)).decode()
    values |= {item.name: item.value for item in own}
    return [{"name": name, "value": value} for name, value in values.items()]


def _in_seconds(timings: TimingsStatus) -> Timings:
    def timing(status: TimingStatus) -> Timing:
        return Timing(latency_p50=parse_duration(status.latency_p50), latency_p95=parse_duration(status.latency_p95))

    return Timings(
        original=timing(timings.original),
        chosen=timing(timings.chosen),
        threads=timings.threads,
        cpu="" if timings.cpu is UNSET else timings.cpu,
    )


def volumes(serving: Serving) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts: whole folders, so that the kubelet renews the files when a Secret changes."""
    secrets = []
    if serving.tls is not UNSET:
        secrets.append(("tls", serving.tls.name, TLS_DIR))
    if serving.auth is not UNSET:
        secrets.append(("auth", serving.auth.name, AUTH_DIR))
    return (
        [{"name": name, "secret": {"secretName": secret}} for name, secret, _ in secrets],
        [{"name": name, "mountPath": path, "readOnly": True} for name, _, path in secrets],
    )
