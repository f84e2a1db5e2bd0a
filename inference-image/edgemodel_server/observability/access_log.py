"""The access log: one line per request, without its query and without keys."""

import logging

logger = logging.getLogger("edgemodel_server.observability.access_log")


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
