"""The load program: HTTP/1.1 over raw sockets, in closed and open loop, on the event loop of its caller.

It does for one request no more than it must (write bytes prepared before, find the end of the answer, note the time),
so that the server is what is measured; how busy it was is part of the result.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

LOST = 0
"""Status of a request whose connection ended without an answer."""
_HEADER_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_CHUNKED_END = b"0\r\n\r\n"
TIMER_SECONDS = 0.001
GRACE_SECONDS = 10.0
"""How long answers may take after the last request."""


class Answer(NamedTuple):
    """One answer: when the request was due, in seconds from the begin, and how long it took from then."""

    status: int
    seconds: float
    due: float


@dataclass
class Result:
    """What came back, in the order of the answers."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    """CPU seconds of the load program per second."""
    late: list[float] = field(default_factory=list)
    """Seconds by which the load program sent each request of an open loop after it was due: in its latency, too."""
    unanswered: int = 0
    total: int = 0
    """Answers of any status, those of the warm-up included."""

    def statuses(self) -> dict[int, int]:
        """How many answers had each status."""
        return dict(Counter(answer.status for answer in self.answers))

    @property
    def rate(self) -> float:
        """Answers with status 200 per second."""
        return sum(answer.status == 200 for answer in self.answers) / self.seconds

    def latency(self, share: float, *statuses: int) -> float:
        """The quantile of the latencies of the answers with ``statuses`` (200 unless told); NaN if there is none."""
        wanted = statuses or (200,)
        values = sorted(answer.seconds for answer in self.answers if answer.status in wanted)
        return quantile(values, share)


def quantile(values: list[float], share: float) -> float:
    """Of values in ascending order; NaN if there is none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "host: server", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _HEADER_END + body


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answered: Callable[[int], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way out."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, request: bytes, answered: Callable[[int], None]) -> None:
        """Write a request; ``answered`` is called once, with the status of the answer or LOST."""
        self._answered = answered
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect, and see whether the answer is whole."""
        self._received += data
        end = self._received.find(_HEADER_END)
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        if (length := _CONTENT_LENGTH.search(head)) is not None:
            if len(self._received) < end + 4 + int(length[1]):
                return
        elif b"transfer-encoding: chunked" in head and not self._received.endswith(_CHUNKED_END):
            return
        self._received.clear()
        if b"connection: close" in head:
            self.close()
        self._finish(int(head[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        """Whatever was asked is not answered any more."""
        self._transport = None
        self._finish(LOST)

    def close(self) -> None:
        """Ask nothing more."""
        if self._transport is not None:
            self._transport.close()

    def _finish(self, status: int) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status)


class Asks(Protocol):
    """A connection over which one request at a time is asked."""

    @property
    def is_open(self) -> bool:
        """Whether it can take a request."""

    def send(self, request: bytes, answered: Callable[[int], None]) -> None:
        """Ask; ``answered`` is called once, with the status."""

    def close(self) -> None:
        """Ask nothing more."""


async def connect(port: int) -> Connection:
    """A connection to the server on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def closed_loop(
    port: int,
    request: bytes,
    clients: int,
    seconds: float,
    warm_up: float = 0.5,
    connect: Callable[[int], Awaitable[Asks]] = connect,
) -> Result:
    """``clients`` that each send the next request when they have the answer to the last, for ``seconds``.

    Answers of the first ``warm_up`` seconds, before that time, are not counted.
    """
    result = Result()
    begin = time.perf_counter() + warm_up
    end = begin + seconds
    loop = asyncio.get_running_loop()
    finished = [loop.create_future() for _ in range(clients)]
    connections = [await connect(port) for _ in range(clients)]

    def drive(connection: Asks, done: "asyncio.Future[None]") -> None:
        sent = 0.0

        def ask() -> None:
            nonlocal sent
            sent = time.perf_counter()
            connection.send(request, answered)

        def answered(status: int) -> None:
            now = time.perf_counter()
            result.total += 1
            if begin <= sent and now <= end:
                result.answers.append(Answer(status, now - sent, sent - begin))
            if now >= end or not connection.is_open:
                if not done.done():
                    done.set_result(None)
                return
            ask()

        ask()

    used = time.process_time()
    for connection, done in zip(connections, finished, strict=True):
        drive(connection, done)
    await asyncio.wait(finished, timeout=warm_up + seconds + GRACE_SECONDS)
    result.busy = (time.process_time() - used) / (warm_up + seconds)
    result.seconds = seconds
    result.unanswered = sum(not done.done() for done in finished)
    for connection in connections:
        connection.close()
    return result


async def open_loop(
    ports: Callable[[], list[int]], request: bytes, rate: float, seconds: float, seed: int = 0
) -> Result:
    """Requests at random times (Poisson), ``rate`` per second, whether or not earlier ones are answered.

    A request goes over an idle connection if there is one, or else over a new one to one of the ports that ``ports``
    names at that time. Latency counts from when the request was due, so that a server that stalls cannot hide it.
    """
    chance = random.Random(seed)  # noqa: S311
    result = Result()
    idle: list[Connection] = []
    asked: set[Connection] = set()
    opening: set[asyncio.Task[None]] = set()
    used, begin = time.process_time(), time.perf_counter()

    def ask(connection: Connection, due: float) -> None:
        def answered(status: int) -> None:
            if connection not in asked:
                return  # it is closed because nobody waits any more
            asked.remove(connection)
            result.answers.append(Answer(status, time.perf_counter() - due, due - begin))
            if connection.is_open:
                idle.append(connection)

        asked.add(connection)
        result.late.append(time.perf_counter() - due)
        connection.send(request, answered)

    async def open_and_ask(due: float) -> None:
        try:
            connection = await connect(chance.choice(ports()))
        except OSError:
            result.answers.append(Answer(LOST, time.perf_counter() - due, due - begin))
            return
        ask(connection, due)

    due = begin
    while (due := due + chance.expovariate(rate)) < begin + seconds:
        await _until(due)
        connection = None
        while idle and connection is None:
            # The one used last: those that are not needed stay unused, as in the pools of real clients.
            connection = idle.pop() if idle[-1].is_open else (idle.pop(), None)[1]
        if connection is not None:
            ask(connection, due)
        else:
            task = asyncio.create_task(open_and_ask(due))
            opening.add(task)
            task.add_done_callback(opening.discard)
    result.seconds = time.perf_counter() - begin
    result.total = len(result.answers)
    result.busy = (time.process_time() - used) / result.seconds
    end = time.perf_counter() + GRACE_SECONDS
    while (asked or opening) and time.perf_counter() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    result.unanswered = len(asked) + len(opening)
    for task in opening:
        task.cancel()
    idle += asked
    asked.clear()
    for connection in idle:
        connection.close()
    return result


async def _until(due: float) -> None:
    """Let others run until the time is ``due``: more exactly than timers, which know milliseconds. Once at least."""
    while True:
        pause = due - time.perf_counter()
        await asyncio.sleep(pause - TIMER_SECONDS if pause > 2 * TIMER_SECONDS else 0)
        if time.perf_counter() >= due:
            return
