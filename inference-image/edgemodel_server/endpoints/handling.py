"""What is done for every request, whatever carries it: key and rate at its start; the error's form, metrics and access
log at its end.

A transport makes one ``Handling`` of each request: ``http/app.py`` and ``grpc/handlers.py`` do, and nothing else in the
server checks a key, counts a request or writes a line of the access log.
"""

import logging
import time
from collections.abc import Hashable, Mapping

from edgemodel_server.access.budget import Lease, client_of
from edgemodel_server.errors import RequestError, ServerFaultError
from edgemodel_server.observability.access_log import log_line
from edgemodel_server.service import Service

logger = logging.getLogger(__name__)

CLIENT_GONE = 499
"""Status counted, never sent, for a client that left before it had its answer."""


class Handling:
    """One request from its arrival to its end, as metrics and access log see it.

    ``endpoint`` is its label in the metrics; None: it is not counted there. ``inline``: it is answered before any other
    request is looked at, so that nobody could see it in flight. Call ``close`` when all is done; until ``answered`` or
    ``refused`` has been called, the client counts as gone.
    """

    __slots__ = (
        "_endpoint",
        "_inline",
        "_service",
        "_status",
        "address",
        "client",
        "method",
        "path",
        "size",
        "started",
    )

    def __init__(
        self,
        service: Service,
        method: str,
        path: str,
        address: str,
        endpoint: str | None = None,
        *,
        inline: bool = False,
    ) -> None:
        """The handling of a request that has just arrived."""
        self.started = time.perf_counter()
        self.method = method
        self.path = path
        self.address = address
        self.client = ""
        """The name of its key; empty where none is needed."""
        self.size = 0
        """Bytes of the answer."""
        self._service = service
        self._endpoint = endpoint
        self._inline = inline
        self._status = CLIENT_GONE
        if endpoint is not None and not inline:
            service.metrics.begin()

    def authenticate(self, headers: Mapping[bytes, bytes]) -> None:
        """Check the key, and count one request of the client's rate. ``headers`` have names in lower case.

        Raises:
            UnauthorizedError: no key, or one that no client has.
            RateLimitedError: the client's rate is used up.
        """
        keys = self._service.keys
        if keys.active:
            self.client = keys.check(headers, self.address)

    def lease(self, connection: Hashable) -> Lease:
        """What the request may hold of the server's budget, on behalf of its client."""
        return self._service.budget.lease(self.client or client_of(self.address), connection)

    def answered(self, size: int, status: int = 200) -> None:
        """The answer is complete, of ``size`` bytes; ``status`` is that of HTTP."""
        self._status, self.size = status, size

    def refused(self, error: Exception) -> RequestError:
        """What the client is told instead of an answer; whatever it should not see is logged."""
        if not isinstance(error, RequestError):
            logger.error("a request failed", exc_info=error)
            error = ServerFaultError()
        elif error.status == 500:
            logger.error("%s", error)
        self._status = error.status
        if error.reason is not None:
            self._service.metrics.reject(error.reason)
        return error

    def cancelled(self) -> None:
        """The client gave the request up."""
        self._service.metrics.reject("cancelled")

    def close(self) -> None:
        """Count the request in the metrics, and log it."""
        seconds = time.perf_counter() - self.started
        if self._endpoint is not None:
            if self._inline:
                self._service.metrics.answered(self._endpoint, self._status, seconds)
            else:
                self._service.metrics.end(self._endpoint, self._status, seconds)
        if self._service.settings.access_log:
            log_line(self.method, self.path, self._status, seconds, self.size, self.address, self.client)
