"""Answers probes and scrapers, whatever the server is busy with.

A program of its own, so that it needs neither the server's Python lock nor one of its file descriptors: what clients do
to the server cannot keep the kubelet's probes waiting. The server sends it its state at least every second; where
nothing has come for long, the server hangs, and is not live. Metrics are asked for as they are scraped; a server that
is too busy to give them in time is answered for with those that it gave last, and how old they are.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, BinaryIO

from edgemodel_server.admin import channel

METRICS_SECONDS = 0.05
"""Time that the server has to give its metrics."""
IDLE_SECONDS = 30.0
"""A connection on which nothing comes for so long is closed."""
MAX_CONNECTIONS = 64
"""For one more the oldest is closed: probes and scrapers need a handful."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AGE_METRIC = "edgemodel_metrics_age_seconds"
AGE_HELP = "How long ago the server gave these metrics."


class Server:
    """What the responder knows of the server it answers for. Thread-safe."""

    def __init__(self, connection: socket, hangs_after: float) -> None:
        """Nothing has come yet over ``connection``; the server hangs ``hangs_after`` seconds after its last message."""
        self._connection = connection
        self._hangs_after = hangs_after
        self._changed = threading.Condition()
        self._heard = time.monotonic()
        self._state: dict[str, Any] = {"ready": False, "error": "the server is starting"}
        self._metrics = b""
        self._given = 0
        self._asked = False
        self._measured = self._heard

    def listen(self, stream: BinaryIO) -> None:
        """Take in messages until the server ends."""
        while (message := channel.read(stream.read)) is not None:
            kind, content = message
            with self._changed:
                self._heard = time.monotonic()
                if kind == channel.STATE:
                    self._state = json.loads(content)
                else:
                    self._metrics, self._measured = content, self._heard
                    self._given += 1
                    self._asked = False
                    self._changed.notify_all()

    def live(self) -> tuple[int, dict[str, Any]]:
        """Status and answer of the liveness probe."""
        silent = time.monotonic() - self._heard
        if silent > self._hangs_after:
            return HTTPStatus.SERVICE_UNAVAILABLE, {
                "live": False,
                "error": f"the server's event loop has not run for {silent:.0f} seconds",
            }
        return HTTPStatus.OK, {"live": True}

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and answer of the readiness probe."""
        status, answer = self.live()
        if status != HTTPStatus.OK:
            return status, {"ready": False, "error": answer["error"]}
        state = self._state
        return (HTTPStatus.OK if state["ready"] else HTTPStatus.SERVICE_UNAVAILABLE), state

    def metrics(self) -> bytes:
        """The server's metrics, fresh where it gives them in time."""
        with self._changed:
            before = self._given
            if not self._asked:
                self._asked = True
                self._connection.send(channel.ASK)
            self._changed.wait_for(lambda: self._given > before, METRICS_SECONDS)
            age = time.monotonic() - self._measured
            return (
                self._metrics
                + (f"# HELP {AGE_METRIC} {AGE_HELP}\n# TYPE {AGE_METRIC} gauge\n{AGE_METRIC} {age:.3f}\n").encode()
            )


def handler(server: Server, paths: dict[str, str]) -> type[BaseHTTPRequestHandler]:
    """What answers a connection. ``paths``: where ``live``, ``ready`` and ``metrics`` are."""
    probes: dict[str, Callable[[], tuple[int, dict[str, Any]]]] = {
        paths["live"]: server.live,
        paths["ready"]: server.ready,
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "edgemodel", ""
        timeout = IDLE_SECONDS
        # Head and body leave in one packet.
        wbufsize = -1

        def do_GET(self) -> None:
            # A body is not read, and must not be taken for the next request.
            if "content-length" in self.headers or "transfer-encoding" in self.headers:
                self.close_connection = True
            path = self.path.partition("?")[0]
            if path == paths["metrics"]:
                self._answer(HTTPStatus.OK, server.metrics(), METRICS_TYPE)
            elif path in probes:
                status, answer = probes[path]()
                self._answer(status, json.dumps(answer, separators=(",", ":")).encode())
            else:
                self.send_error(HTTPStatus.NOT_FOUND, f"this port has {', '.join(paths.values())}")

        do_HEAD = do_GET  # noqa: N815 - as the library names it

        def send_error(self, code: int, message: str | None = None, _: str | None = None) -> None:
            """Like every other error of the server: JSON. The rest of what came is not read."""
            self.close_connection = True
            sentence = message or HTTPStatus(code).phrase
            self._answer(code, json.dumps({"error": sentence}).encode())

        def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            if self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing: the kubelet asks every other second."""

    return Handler


class Responder(ThreadingHTTPServer):
    """A thread per connection, of which there are MAX_CONNECTIONS."""

    daemon_threads = True

    def __init__(self, listener: socket, answers: type[BaseHTTPRequestHandler]) -> None:
        """Serve on ``listener``, which listens already."""
        super().__init__(listener.getsockname()[:2], answers, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._open: dict[socket, None] = {}
        """In the order in which they came. This thread adds, the connections' threads remove."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer what comes on a new connection."""
        with contextlib.suppress(OSError, RuntimeError, StopIteration):  # it may be closing just now
            if len(self._open) >= MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                self._open.pop(oldest, None)
                oldest.shutdown(SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The connection is done with."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """A client that goes in the middle is no error."""


def main(listener: int, connection: int, options: str) -> None:
    """Answer on the descriptor ``listener`` for the server behind the descriptor ``connection``, until that ends.

    ``options`` is JSON: ``hangs_after``, as ``Server`` has it, and ``paths``, as ``handler`` has them.
    """
    settings = json.loads(options)
    to_server = socket(fileno=connection)
    server = Server(to_server, settings["hangs_after"])
    responder = Responder(socket(fileno=listener), handler(server, settings["paths"]))
    threading.Thread(target=responder.serve_forever, daemon=True).start()
    server.listen(to_server.makefile("rb"))
    os._exit(0)
