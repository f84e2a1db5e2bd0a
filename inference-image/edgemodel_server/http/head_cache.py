"""Heads of requests that were parsed before: the parser would read the same bytes in the same way again.

Clients send the same line and headers with every request, and to parse them takes longer than to recognize them.
"""

from edgemodel_server.http.wire import Request

MAX_HEADS = 256
"""Bodies of JSON differ in length by some digits, and so do the heads that say how long they are."""
MAX_HEAD_BYTES = 2048
"""Of one head."""


class HeadCache:
    """The requests of ``MAX_HEADS`` heads at most; beyond that it begins anew."""

    def __init__(self) -> None:
        """An empty cache."""
        self._requests: dict[bytes, Request] = {}

    def __len__(self) -> int:
        """How many heads are known."""
        return len(self._requests)

    def find(self, head: bytes) -> Request | None:
        """The request whose line and headers are ``head``; None: it has to be parsed."""
        return self._requests.get(head)

    def add(self, head: bytes, request: Request) -> None:
        """Remember what ``head`` was parsed to."""
        if len(head) > MAX_HEAD_BYTES:
            return
        if len(self._requests) >= MAX_HEADS:
            self._requests.clear()
        self._requests[head] = request
