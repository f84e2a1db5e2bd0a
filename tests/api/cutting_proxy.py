"""A reverse proxy in front of the API server that lets a write through and then strikes, before it answers or instead.

The Lease passes untouched: a process that dies of every renewal does nothing else.
"""

import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tools.localcluster.native.control_plane import ControlPlane

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections of a process that was struck break; that is the point. Anything else is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class CuttingProxy:
    """Plain HTTP on a port of its own. ``cut`` is called after each write, before its answer would go back; with
    ``answers`` the answer goes back all the same."""

    def __init__(self, plane: ControlPlane, cut: Callable[[], None], *, answers: bool = False) -> None:
        self._answers = answers
        self.writes: list[str] = []
        """``VERB path`` of all writes so far."""
        self._cut = cut
        context = ssl.create_default_context(cafile=str(plane.authority.cert))
        self._upstream = httpx.Client(base_url=plane.url, verify=context, timeout=600)
        self._lock = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Serve; yields the base URL."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._relay(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        with _Server(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()
                self._upstream.close()

    def _relay(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in _HOP}
        if handler.command in WRITES and "/leases" not in handler.path:
            # One at a time: what a process wrote at the same moment as its last write is let through or not at all.
            with self._lock:
                answer = self._upstream.request(handler.command, handler.path, content=body, headers=headers)
                self.writes.append(f"{handler.command} {handler.path.partition('?')[0]}")
                self._cut()
            if self._answers:
                handler.send_response(answer.status_code)
                handler.send_header("Content-Type", answer.headers.get("Content-Type", ""))
                handler.send_header("Content-Length", str(len(answer.content)))
                handler.end_headers()
                handler.wfile.write(answer.content)
            else:
                handler.close_connection = True
            return
        with self._upstream.stream(handler.command, handler.path, content=body, headers=headers) as answer:
            handler.send_response(answer.status_code)
            handler.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            try:
                for chunk in answer.iter_bytes():
                    handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                    handler.wfile.flush()
                handler.wfile.write(b"0\r\n\r\n")
            except (OSError, httpx.TransportError):
                handler.close_connection = True
