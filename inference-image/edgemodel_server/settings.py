"""Settings of the server, all from environment variables.

None of the names ends in ``_HOST`` or ``_PORT``: Kubernetes injects such variables for Services, and one called
``edgemodel`` would overwrite ours.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgemodel_contract.card import MODEL_DIR
from edgemodel_contract.quantity import parse_size
from edgemodel_contract.serving import (
    ADMIN_PORT,
    AUTH_DIR_VARIABLE,
    CORS_ORIGINS_VARIABLE,
    DRAIN_VARIABLE,
    GRPC_PORT,
    HTTP_PORT,
    MAX_BATCH_DELAY_VARIABLE,
    MAX_BATCH_SIZE_VARIABLE,
    ORIGIN,
    PEERS_VARIABLE,
    RATE_LIMIT_VARIABLE,
    THREADS_VARIABLE,
    TIMINGS_VARIABLE,
    TLS_DIR_VARIABLE,
)


class SettingsError(Exception):
    """A variable has a value that cannot be used; the message names it and gives an example."""


def _boolean(text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError("write true or false")
    return values[text.lower()]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 2**31:
        raise ValueError("write a whole number from 1")
    return int(text)


def _count_or_none(text: str) -> int:
    if not text.isdecimal() or int(text) > 2**31:
        raise ValueError("write a whole number from 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise ValueError("write seconds from 0 to 3600, like 5 or 0.5")
    return value


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("write host:port like 127.0.0.1:8080, or :8080 for all addresses")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _address_or_off(text: str) -> tuple[str, int] | None:
    return None if text.lower() == "off" else _address(text)


def _folder_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:
        raise ValueError("write requests per second from 0 to 1000000, like 50 or 0.5")
    return value


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if re.fullmatch(ORIGIN, origin) is None:
            raise ValueError(f"{origin!r} is no origin; write scheme and host like https://app.example, or *")
    return origins


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator of the server may set; VARIABLES says by which variable, and the defaults."""

    model_dir: Path
    listen: tuple[str, int]
    grpc_listen: tuple[str, int] | None
    admin_listen: tuple[str, int] | None
    threads: int
    max_batch_size: int
    """Rows of one inference."""
    max_batch_delay: float
    """Seconds."""
    queue_limit: int
    request_timeout: float
    """Seconds."""
    max_body: int
    """Bytes."""
    max_buffered: int
    """Bytes."""
    max_connections: int
    body_timeout: float
    """Seconds."""
    max_pixels: int
    drain: float
    """Seconds."""
    shutdown: float
    """Seconds."""
    tls_dir: Path | None
    auth_dir: Path | None
    rate_limit: float
    """Requests per second and key."""
    cors_origins: tuple[str, ...]
    """Empty: none."""
    peers: str
    """Host name; empty: none."""
    timings: str
    """JSON; empty: none."""
    access_log: bool


@dataclass(frozen=True)
class Variable:
    """One environment variable: the field of Settings it sets, its default, how it is read and what it does."""

    name: str
    field: str
    default: str
    read: Callable[[str], object]
    description: str


VARIABLES = (
    Variable("EDGEMODEL_MODEL_DIR", "model_dir", MODEL_DIR, Path, "folder with card.json and model.onnx"),
    Variable(
        "EDGEMODEL_LISTEN",
        "listen",
        f":{HTTP_PORT}",
        _address,
        "host:port; no host means all addresses, IPv4 and IPv6",
    ),
    Variable(
        "EDGEMODEL_GRPC_LISTEN",
        "grpc_listen",
        f":{GRPC_PORT}",
        _address_or_off,
        "host:port for gRPC; off means none",
    ),
    Variable(
        "EDGEMODEL_ADMIN_LISTEN",
        "admin_listen",
        f":{ADMIN_PORT}",
        _address_or_off,
        "host:port for health and metrics, without TLS and keys; off means none",
    ),
    Variable(
        THREADS_VARIABLE,
        "threads",
        "0",
        _count_or_none,
        "threads of one inference; 0 means as many as the container's CPU quota, rounded up",
    ),
    Variable(
        MAX_BATCH_SIZE_VARIABLE,
        "max_batch_size",
        "32",
        _count,
        "most rows of waiting requests that are computed together, where warm-up shows that it pays; 1 means never",
    ),
    Variable(
        MAX_BATCH_DELAY_VARIABLE,
        "max_batch_delay",
        "0.002",
        _seconds,
        "longest that a request waits for others to share its batch; without load none waits",
    ),
    Variable(
        "EDGEMODEL_QUEUE_LIMIT",
        "queue_limit",
        "96",
        _count,
        "inferences that may wait for a worker, of which a client that is alone may have two thirds; more are answered "
        "503, or 429 where they are its own",
    ),
    Variable(
        "EDGEMODEL_REQUEST_TIMEOUT_SECONDS",
        "request_timeout",
        "60",
        _seconds,
        "deadline of requests that name none, and the latest they may name; past it a request is answered 504",
    ),
    Variable(
        "EDGEMODEL_MAX_BODY", "max_body", "32Mi", parse_size, "largest request body; a larger one is answered 413"
    ),
    Variable(
        "EDGEMODEL_MAX_BUFFERED",
        "max_buffered",
        "128Mi",
        parse_size,
        "bytes of all request bodies, decoded images and answers held at a time, of which a client that is alone may "
        "hold two thirds; beyond it requests are answered 503, or 429 where they are its own",
    ),
    Variable(
        "EDGEMODEL_MAX_CONNECTIONS",
        "max_connections",
        "8192",
        _count,
        "open connections; a client that is alone may hold two thirds of them",
    ),
    Variable("EDGEMODEL_BODY_TIMEOUT_SECONDS", "body_timeout", "30", _seconds, "time a client has to send its body"),
    Variable(
        "EDGEMODEL_MAX_PIXELS",
        "max_pixels",
        "40000000",
        _count,
        "most pixels of the images in one request; more are answered 413",
    ),
    Variable(
        DRAIN_VARIABLE,
        "drain",
        "5",
        _seconds,
        "time after SIGTERM in which new requests are still served, while endpoints and proxies catch up",
    ),
    Variable(
        "EDGEMODEL_SHUTDOWN_SECONDS",
        "shutdown",
        "20",
        _seconds,
        "time that requests in flight have to finish after draining",
    ),
    Variable(
        TLS_DIR_VARIABLE,
        "tls_dir",
        "",
        _folder_or_none,
        "folder with tls.crt and tls.key, read again when they change; with ca.crt, clients must show a certificate",
    ),
    Variable(
        AUTH_DIR_VARIABLE,
        "auth_dir",
        "",
        _folder_or_none,
        "folder with a file per client that holds its key, sent as Authorization: Bearer or X-API-Key; read again when "
        "it changes",
    ),
    Variable(RATE_LIMIT_VARIABLE, "rate_limit", "0", _rate, "requests per second of each key; 0 means without limit"),
    Variable(
        CORS_ORIGINS_VARIABLE,
        "cors_origins",
        "",
        _origins,
        "origins, with commas between them, whose pages may call this server from a browser; * means any",
    ),
    Variable(
        PEERS_VARIABLE,
        "peers",
        "",
        str,
        "host name with the addresses of replicas that serve the same model on the same port with the same certificate "
        "and keys; they share large batches, and what one of them fails at is computed here",
    ),
    Variable(
        TIMINGS_VARIABLE,
        "timings",
        "",
        str,
        "latencies before and after compression as JSON, shown on the model's page; the operator sets it",
    ),
    Variable("EDGEMODEL_ACCESS_LOG", "access_log", "false", _boolean, "log every request, one JSON object per line"),
)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from environment variables; an unset or empty one takes its default.

    Raises:
        SettingsError: a variable's value cannot be read.
    """
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        text = environment.get(variable.name) or variable.default
        try:
            values[variable.field] = variable.read(text)
        except ValueError as error:
            raise SettingsError(f"{variable.name} is {text!r}: {error}") from error
    return Settings(**values)


def describe_settings() -> str:
    """One paragraph per variable, for ``--help``."""
    return "\n".join(
        f"  {item.name} (default {item.default or 'unset'})\n      {item.description}" for item in VARIABLES
    )
