"""A request and its answer, as the inference endpoints see them: no more than they need, for there are many."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from edgemodel_server.errors import (
    BadRequestError,
    MethodNotAllowedError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    shown,
)
from edgemodel_server.protocol.memory import Memory

JSON = b"application/json"
BINARY = b"application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
JOINED_BYTES = 64 * 1024
"""Answers up to this size go out as one piece: to copy them costs less than to send pieces."""

READ_INTO = "edgemodel.http.read_into"
"""Extension of the ASGI scope, a ``ReadInto``."""

ReadInto = Callable[[memoryview], Awaitable[None]]
"""Fills the memory with bytes of the body, of which there must be so many; raises ConnectionResetError if the client
has gone."""

WHEN_GONE = "edgemodel.http.when_gone"
"""Extension of the ASGI scope, a ``WhenGone``."""

WhenGone = Callable[[Callable[[], object] | None], None]
"""Has a function called when the client goes before it has its answer, or now if it has gone; None takes it back. To
wait for the message ``http.disconnect`` takes a task, and longer than all else that is done for a request."""

TIMEOUT_HEADERS = {b"x-request-timeout": 1.0, b"x-envoy-expected-rq-timeout-ms": 0.001}
"""Headers that say how long the client waits, and their unit in seconds. Envoy, and with it Istio, sends the second."""


class Lease(Memory, Protocol):
    """What a request may hold of the server. All of these raise RequestError where it has its share already."""

    def waiting(self) -> AbstractContextManager[None]:
        """While one inference waits for a worker or is computed."""

    def decoding(self, seconds: float) -> AbstractContextManager[None]:
        """While a body waits to be decoded and is decoded, which takes about so many ``seconds``."""


_NO_PARAMETERS: Mapping[str, str] = {}


async def _nothing() -> Message:
    raise ClientDisconnect


class Call:
    """One HTTP request whose headers are there. ``started`` is a time of ``time.perf_counter``."""

    __slots__ = (
        "headers",
        "lease",
        "parameters",
        "path",
        "query",
        "read_into",
        "receive",
        "started",
        "timings",
        "when_gone",
    )

    def __init__(
        self,
        headers: Mapping[bytes, bytes],
        path: str,
        lease: Lease,
        query: bytes = b"",
        receive: Receive = _nothing,
        read_into: ReadInto | None = None,
        when_gone: WhenGone | None = None,
    ) -> None:
        """``headers`` have names in lower case. ``lease`` is closed when the answer is written.
        ``read_into`` fills memory with what follows of the body; None where the server cannot, nor say at once
        ``when_gone`` its client is."""
        self.started = time.perf_counter()
        self.headers = headers
        self.path = path
        self.lease = lease
        self.query = query
        self.receive = receive
        self.read_into = read_into
        self.when_gone = when_gone
        self.timings: list[tuple[str, float]] = []
        self.parameters: Mapping[str, str] = _NO_PARAMETERS
        """What stands for the route's parameters in the path, by their names."""

    @classmethod
    def of(cls, scope: Scope, receive: Receive, lease: Lease) -> "Call":
        """The request that ASGI describes so; of the headers that come more than once, the last counts."""
        extensions = scope.get("extensions", {})
        read_into, when_gone = extensions.get(READ_INTO), extensions.get(WHEN_GONE)
        return cls(dict(scope["headers"]), scope["path"], lease, scope["query_string"], receive, read_into, when_gone)

    def header(self, name: bytes, default: str = "") -> str:
        """The value of a header, by its name in lower case."""
        value = self.headers.get(name)
        return default if value is None else value.decode("latin-1")

    def length(self, name: bytes) -> int | None:
        """A header that is a number of bytes; None where it is missing.

        Raises:
            BadRequestError: it is no number.
        """
        value = self.headers.get(name)
        if value is None:
            return None
        if not value.isdigit() or len(value) > 18:
            raise BadRequestError(f"{name.decode().title()} is {shown(self.header(name))}; give a number of bytes")
        return int(value)

    def timeout(self, longest: float) -> float:
        """Seconds that the client waits by its headers, at most ``longest``.

        Raises:
            BadRequestError: a header is no number.
        """
        for name, unit in TIMEOUT_HEADERS.items():
            value = self.headers.get(name)
            if value is None:
                continue
            try:
                seconds = float(value) * unit
            except ValueError:
                seconds = -1.0
            if not seconds >= 0:
                raise BadRequestError(f"{name.decode().title()} is {shown(self.header(name))}; give a number from 0")
            longest = min(longest, seconds or longest)
        return longest


@dataclass(slots=True)
class Answer:
    """One response; ``parts`` are its body. ``is_charged``: the lease of its request was charged with them as they were
    made."""

    status: int
    parts: list[bytes | memoryview]
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_charged: bool = False

    async def send(self, send: Send) -> None:
        """Write it."""
        parts = self.parts
        if len(parts) > 1 and sum(map(len, parts)) <= JOINED_BYTES:
            parts = [b"".join(parts)]
        await send({"type": "http.response.start", "status": self.status, "headers": self.all_headers()})
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1], "more_body": False})

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """With the one that says how long the body is."""
        return [*self.headers, (b"content-length", b"%d" % sum(map(len, self.parts)))]


def json_answer(content: Any, status: int = 200) -> Answer:
    """``content`` as JSON."""
    return Answer(status, [orjson.dumps(content)], [(b"content-type", JSON)])


def error_answer(error: RequestError) -> Answer:
    """``{"error": …}``, with the headers that the status calls for."""
    answer = json_answer({"error": str(error)}, error.status)
    answer.headers += error_headers(error)
    return answer


def error_headers(error: RequestError) -> list[tuple[bytes, bytes]]:
    """Headers beside the body of an error (RFC 9110, 10.2.1, 10.2.3 and 11.6.1; RFC 6750, 3)."""
    if isinstance(error, RefusedError):
        return [(b"retry-after", b"%d" % max(1, -int(-error.retry_after // 1)))]
    if isinstance(error, TooLargeError):
        # What is left of the body must not be taken for the next request.
        return [(b"connection", b"close")]
    if isinstance(error, MethodNotAllowedError):
        return [(b"allow", ", ".join(error.allowed).encode())]
    if isinstance(error, UnauthorizedError):
        return [(b"www-authenticate", b'Bearer realm="edgemodel"'), (b"www-authenticate", b'Basic realm="edgemodel"')]
    return []


def server_timing(timings: Iterable[tuple[str, float]]) -> tuple[bytes, bytes]:
    """The header Server-Timing, from names and seconds; it is in milliseconds."""
    return b"server-timing", ", ".join([f"{name};dur={seconds * 1e3:.3f}" for name, seconds in timings]).encode()
