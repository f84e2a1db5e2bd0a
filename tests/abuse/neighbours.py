"""Other clients of a server, in a process of their own: small steady requests, and how long each waited.

``python -m tests.abuse.neighbours REST GRPC ADMIN CONTROL KIND``: four ports (``control`` says what the last is for),
and what is served: ``small`` (the model that wire.infer asks), ``images`` or ``other``, which is asked only what it is.
For each line on standard input it answers with one line of JSON about the time since the last: a Wait for each kind of
client.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import grpc

from tests.abuse.messages import MODEL_INFER, MODEL_READY, READY_MESSAGE, infer_message, tiny_image
from tests.abuse.wire import INFER, infer_body

TIMEOUT = 60.0


@dataclass
class Wait:
    """``count`` requests were answered, the slowest after ``worst`` seconds; ``errors`` are all others, in words."""

    count: int = 0
    worst: float = 0.0
    errors: list[str] = field(default_factory=list)


class Client:
    """Asks every ``interval`` seconds, in a thread."""

    def __init__(self, interval: float, ask: Callable[[], None]) -> None:
        """Begin. ``ask`` raises what went wrong."""
        self._interval, self._ask = interval, ask
        self._lock = threading.Lock()
        self._wait = Wait()
        self._asked: float | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def report(self) -> Wait:
        """Since the last report; a request that is not answered yet waits until now."""
        with self._lock:
            wait, self._wait = self._wait, Wait()
            if self._asked is not None:
                wait.worst = max(wait.worst, time.monotonic() - self._asked)
            return wait

    def _run(self) -> None:
        while True:
            asked = time.monotonic()
            with self._lock:
                self._asked = asked
            error = ""
            try:
                self._ask()
            except Exception as caught:
                error = f"{type(caught).__name__}: {caught}"
            done = time.monotonic()
            with self._lock:
                self._asked = None
                if error:
                    self._wait.errors.append(f"{error[:200]} after {done - asked:.3f} s")
                else:
                    self._wait.count += 1
                self._wait.worst = max(self._wait.worst, done - asked)
            time.sleep(max(0.0, asked + self._interval - time.monotonic()))


class Rest:
    """Requests over one connection, which is opened anew where the server closed it."""

    def __init__(self, port: int, kind: str) -> None:
        """Not connected yet."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._count, self._kind = 0, kind

    def __call__(self) -> None:
        """One request. Raises RuntimeError where it fails, or the answer is another's."""
        self._count += 1
        identifier = f"neighbour-{self._count}"
        if self._kind == "small":
            request, mark = ("POST", INFER, infer_body(identifier), {"Content-Type": "application/json"}), identifier
        elif self._kind == "images":
            request, mark = ("POST", "/predict", tiny_image(), {"Content-Type": "image/png"}), '"label"'
        else:
            request, mark = ("GET", "/v2/models/digits", b"", {}), '"digits"'
        try:
            self._connection.request(*request)
            response = self._connection.getresponse()
            content = response.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status != 200 or mark not in content:
            raise RuntimeError(f"{response.status} {content[:200]}")


class Grpc:
    """Calls over one channel."""

    def __init__(self, port: int, kind: str) -> None:
        """Not connected yet."""
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        method = MODEL_INFER if kind == "small" else MODEL_READY
        self._call: Callable[..., bytes] = self._channel.unary_unary(method)
        self._count, self._kind = 0, kind

    def __call__(self) -> None:
        """One call. Raises RuntimeError where it fails, or the answer is another's."""
        self._count += 1
        identifier = f"neighbour-{self._count}"
        if self._kind == "small":
            message, mark = infer_message(identifier), identifier.encode()
        else:
            message, mark = READY_MESSAGE, b"\x08\x01"
        try:
            answer = self._call(message, timeout=TIMEOUT)
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code().name} {error.details()}") from error
        if mark not in answer:
            raise RuntimeError(f"answer {answer!r}")


class Probes:
    """As the kubelet and Prometheus ask: each time over a new connection."""

    PATHS = ("/v2/health/live", "/v2/health/ready", "/metrics")

    def __init__(self, port: int) -> None:
        """Nothing asked yet."""
        self._port, self._count = port, 0

    def __call__(self) -> None:
        """One question. Raises RuntimeError where the answer is not 200."""
        path = self.PATHS[self._count % len(self.PATHS)]
        self._count += 1
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200 or not content:
            raise RuntimeError(f"{path}: {response.status} {content[:200]!r}")


def main() -> None:
    """Until standard input ends."""
    rest, grpc_port, admin, control = (int(argument) for argument in sys.argv[1:5])
    kind = sys.argv[5]
    clients = {
        "REST": Client(0.05, Rest(rest, kind)),
        "gRPC": Client(0.05, Grpc(grpc_port, kind)),
        "admin": Client(0.1, Probes(admin)),
        "control": Client(0.1, lambda: _ask_control(control)),
    }
    for _ in sys.stdin:
        print(json.dumps({name: asdict(client.report()) for name, client in clients.items()}), flush=True)


def _ask_control(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/")
    connection.getresponse().read()
    connection.close()


if __name__ == "__main__":
    main()
