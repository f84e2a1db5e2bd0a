"""The access log: one line per request, without its query and without keys."""

import logging
import time
from collections.abc import Callable

from starlette.types import Message, Scope, Send

logger = logging.getLogger("edgemodel_server.observability.access_log")


def log_access(scope: Scope, send: Send, client: Callable[[], str]) -> Send:
    """``send`` that logs the request when its answer is complete; ``client`` gives the name that its key has."""
    started = time.perf_counter()
    status = size = 0

    async def send_logging(message: Message) -> None:
        nonlocal status, size
        await send(message)
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            seconds = time.perf_counter() - started
            address = (scope["client"] or ("", 0))[0]
            log_line(scope["method"], scope["path"], status, seconds, size, address, client())

    return send_logging


def log_line(method: str, path: str, status: int, seconds: float, size: int, address: str, client: str) -> None:
    """Log one request; ``size`` is the answer's, in bytes."""
    logger.info(
        "%s %s %d",
        method,
        path,
        status,
        extra={
            "method": method,
            "path": path,
            "status": status,
            "bytes": size,
            "seconds": round(seconds, 6),
            "address": address,
            "client": client,
        },
    )
