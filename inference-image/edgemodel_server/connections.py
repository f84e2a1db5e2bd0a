"""HTTP connections: bounds that uvicorn leaves to a proxy, for servers that have none before them."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 20.0
"""Time that a client has for the request line and the headers, from the connection's start or their first bytes."""
HEADER_BYTES = 64 * 1024
"""Of one request's line and headers; what comes in one piece with their end is not counted."""


class Connection(HttpToolsProtocol):
    """Closes connections that send headers slowly, too many of them, or nothing at all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn does."""
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The time for the first headers begins."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """No time runs any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request, or of several."""
        super().data_received(data)
        if not self._in_headers:
            self._header_bytes = 0
            self._stop_timer()
            return
        self._header_bytes += len(data)
        if self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
            self._refuse(
                b"431 Request Header Fields Too Large",
                b'{"error":"the headers are larger than %d bytes"}' % HEADER_BYTES,
            )
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        """Headers follow."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._in_headers = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered in the form of all errors."""
        self._refuse(b"400 Bad Request", b'{"error":"%s"}' % msg.encode("ascii", "replace").replace(b'"', b"'"))

    def _refuse(self, status: bytes, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, len(body), body)
        )
        self.transport.close()

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
