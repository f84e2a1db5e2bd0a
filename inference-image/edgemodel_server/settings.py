"""Settings of the server, all from environment variables.

None of the names ends in ``_HOST`` or ``_PORT``: Kubernetes injects such variables for Services, and one called
``edgemodel`` would overwrite ours.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from edgemodel_contract.card import MODEL_DIR
from edgemodel_contract.quantity import parse_size
from edgemodel_contract.serving import ADMIN_PORT, GRPC_PORT, HTTP_PORT, ORIGIN
from edgemodel_contract.settings import boolean, duration, number, setting, whole

HOUR = 3600.0


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("write host:port like 127.0.0.1:8080, or :8080 for all addresses")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address_or_off(text: str) -> tuple[str, int] | None:
    return None if text.lower() == "off" else _address(text)


def _folder_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if re.fullmatch(ORIGIN, origin) is None:
            raise ValueError(f"{origin!r} is no origin; write scheme and host like https://app.example, or *")
    return origins


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator of the server may set. Durations are in seconds, sizes in bytes once read."""

    model_dir: Path = setting(Path, MODEL_DIR, "folder with card.json and model.onnx")
    listen: tuple[str, int] = setting(
        _address, f":{HTTP_PORT}", "host:port; no host means all addresses, IPv4 and IPv6"
    )
    grpc_listen: tuple[str, int] | None = setting(
        _address_or_off, f":{GRPC_PORT}", "host:port for gRPC; off means none"
    )
    admin_listen: tuple[str, int] | None = setting(
        _address_or_off, f":{ADMIN_PORT}", "host:port for health and metrics, without TLS and keys; off means none"
    )
    threads: int = setting(
        whole(), "0", "threads of one inference; 0 means as many as the container's CPU quota, rounded up"
    )
    max_batch_size: int = setting(
        whole(1),
        "32",
        "most rows of waiting requests that are computed together, where warm-up shows that it pays; 1 means never",
    )
    max_batch_delay: float = setting(
        duration(0, HOUR), "2ms", "longest that a request waits for others to share its batch; without load none waits"
    )
    queue_limit: int = setting(
        whole(1),
        "96",
        "inferences that may wait for a worker, of which a client that is alone may have two thirds; more are "
        "answered 503, or 429 where they are its own",
    )
    request_timeout: float = setting(
        duration(0, HOUR),
        "1m",
        "deadline of requests that name none, and the latest they may name; past it a request is answered 504",
    )
    max_body: int = setting(parse_size, "32Mi", "largest request body; a larger one is answered 413")
    max_buffered: int = setting(
        parse_size,
        "128Mi",
        "bytes of all request bodies, decoded images and answers held at a time, of which a client that is alone may "
        "hold two thirds; beyond it requests are answered 503, or 429 where they are its own",
    )
    max_connections: int = setting(
        whole(1), "8192", "open connections; a client that is alone may hold two thirds of them"
    )
    body_timeout: float = setting(duration(0, HOUR), "30s", "time a client has to send its body")
    max_pixels: int = setting(whole(1), "40000000", "most pixels of the images in one request; more are answered 413")
    drain: float = setting(
        duration(0, HOUR),
        "5s",
        "time after SIGTERM in which new requests are still served, while endpoints and proxies catch up",
    )
    shutdown: float = setting(duration(0, HOUR), "20s", "time that requests in flight have to finish after draining")
    tls_dir: Path | None = setting(
        _folder_or_none,
        "",
        "folder with tls.crt and tls.key, read again when they change; with ca.crt, clients must show a certificate",
    )
    auth_dir: Path | None = setting(
        _folder_or_none,
        "",
        "folder with a file per client that holds its key, sent as Authorization: Bearer or X-API-Key; read again "
        "when it changes",
    )
    rate_limit: float = setting(number(0, 1e6), "0", "requests per second of each key; 0 means without limit")
    cors_origins: tuple[str, ...] = setting(
        _origins, "", "origins, with commas between them, whose pages may call this server from a browser; * means any"
    )
    peers: str = setting(
        str,
        "",
        "host name with the addresses of replicas that serve the same model on the same port with the same "
        "certificate and keys; they share large batches, and what one of them fails at is computed here",
    )
    timings: str = setting(
        str, "", "latencies before and after compression as JSON, shown on the model's page; the operator sets it"
    )
    access_log: bool = setting(boolean, "false", "log every request, one JSON object per line")
