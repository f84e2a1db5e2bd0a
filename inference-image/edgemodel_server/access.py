"""The access log: one line per request, without its query and without keys."""

import logging
import time
from collections.abc import Callable

from starlette.types import Message, Scope, Send

logger = logging.getLogger("edgemodel_server.access")


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
            logger.info(
                "%s %s %d",
                scope["method"],
                scope["path"],
                status,
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "bytes": size,
                    "seconds": round(time.perf_counter() - started, 6),
                    "address": (scope["client"] or ("", 0))[0],
                    "client": client(),
                },
            )

    return send_logging
