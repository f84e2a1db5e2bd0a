"""The load program counts what a server really answers, and waits for nobody."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from edgemodel_server.grpc import open_inference_pb2
from tests.bench.report import Goal, goal_rows
from tests.bench.serving import grpc_load
from tests.bench.serving.grpc_load import METHOD
from tests.bench.serving.load import LOST, Answer, Result, closed_loop, open_loop, post
from tests.bench.serving.overload import Phases, recovery
from tests.bench.serving.requests import grpc_message

REQUEST = post("/", b"body", {"content-type": "text/plain"})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Respond = Callable[[int], bytes | None]


@asynccontextmanager
async def server(respond: Respond, in_pieces: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Its port, and the requests it got. ``respond`` gets the number of the request; None closes the connection."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                requests.append(await reader.readexactly(len(REQUEST)))
            except asyncio.IncompleteReadError:
                break
            answer = respond(len(requests) - 1)
            if answer is None:
                break
            for piece in [bytes([byte]) for byte in answer] if in_pieces else [answer]:
                writer.write(piece)
                await asyncio.sleep(0)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1], requests
    listening.close()


async def test_a_closed_loop_counts_every_answer_after_the_warm_up() -> None:
    async with server(lambda _: OK) as (port, requests):
        result = await closed_loop(port, REQUEST, clients=3, seconds=0.5, warm_up=0.05)
    assert result.statuses().keys() == {200}
    assert 0 < len(result.answers) < result.total == len(requests)
    assert result.rate == len(result.answers) / 0.5
    assert result.unanswered == 0
    assert set(requests) == {REQUEST}


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_is_whole_however_it_arrives(answer: bytes) -> None:
    async with server(lambda _: answer, in_pieces=True) as (port, _):
        result = await closed_loop(port, REQUEST, clients=1, seconds=0.1, warm_up=0)
    assert result.statuses().keys() == {int(answer[9:12])}


async def test_an_open_loop_keeps_its_rate_and_its_connections() -> None:
    async with server(lambda _: OK) as (port, requests):
        result = await open_loop(lambda: [port], REQUEST, rate=400, seconds=0.5)
    assert result.statuses() == {200: len(requests)}
    assert len(requests) == pytest.approx(200, rel=0.3)
    assert result.unanswered == 0


async def test_a_stalled_server_does_not_slow_an_open_loop_down() -> None:
    """It answers nobody until two wait: who sends the next request only after an answer never gets one."""
    release, arrivals, released = asyncio.Event(), list[float](), list[float]()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(REQUEST))
        arrivals.append(time.perf_counter())
        if len(arrivals) == 2:
            released.append(time.perf_counter())
            release.set()
        await release.wait()
        writer.write(OK)

    listening = await asyncio.start_server(stall, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with asyncio.timeout(60):
        result = await open_loop(lambda: [port], REQUEST, rate=200, seconds=0.3)
    listening.close()
    assert result.statuses() == {200: len(arrivals)}
    # The first request was due before it arrived: its latency has all of the stall in it.
    assert max(answer.seconds for answer in result.answers) >= released[0] - arrivals[0]


async def test_requests_that_are_not_answered_are_counted_as_lost() -> None:
    async with server(lambda number: OK if number % 3 else None) as (port, requests):
        result = await open_loop(lambda: [port], REQUEST, rate=300, seconds=0.2)
    assert result.statuses()[LOST] == len([number for number in range(len(requests)) if number % 3 == 0])
    assert sum(result.statuses().values()) == len(requests)


async def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n"
    async with server(lambda _: closing) as (port, requests):
        result = await open_loop(lambda: [port], REQUEST, rate=200, seconds=0.2)
    assert result.statuses() == {200: len(requests)}


async def test_a_port_without_a_server_loses_requests_and_nothing_else() -> None:
    async with server(lambda _: OK) as (port, _):
        pass
    result = await open_loop(lambda: [port], REQUEST, rate=100, seconds=0.1)
    assert set(result.statuses()) <= {LOST}


def test_latency_is_a_quantile_of_the_answers_of_that_status() -> None:
    result = Result([Answer(200, number / 100, 0.0) for number in range(1, 101)] + [Answer(503, 5.0, 0.0)])
    assert result.latency(0.5) == 0.51
    assert result.latency(0.99) == 1.0
    assert result.latency(0.5, 429, 503) == 5.0
    assert str(result.latency(0.5, 404)) == "nan"


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ([], 0.0),
        ([Answer(200, 0.01, 0.1), Answer(200, 0.019, 3.0)], 0.0),
        ([Answer(503, 0.01, 0.5), Answer(200, 0.01, 0.6)], 0.51),
        ([Answer(200, 0.5, 0.25), Answer(200, 0.01, 0.6)], 0.75),
        # One in a hundred may be slow, as before.
        ([Answer(200, 0.5, 0.25), Answer(200, 0.5, 2.0)] + 99 * [Answer(200, 0.01, 0.6)], 0.75),
    ],
)
def test_recovery_ends_with_the_last_of_the_answers_that_are_refused_or_slow(
    after: list[Answer], seconds: float
) -> None:
    calm = Result([Answer(200, 0.01, 0.0)])
    assert recovery(Phases(1.0, calm, Result(), Result(after))) == pytest.approx(seconds)


def test_the_grpc_message_is_what_the_protocol_says() -> None:
    data = np.arange(600, dtype=np.float32).reshape(2, 300)
    request = open_inference_pb2.ModelInferRequest.FromString(grpc_message("mlp", "x", data))
    assert request.model_name == "mlp"
    assert (request.inputs[0].name, request.inputs[0].datatype, list(request.inputs[0].shape)) == (
        "x",
        "FP32",
        [2, 300],
    )
    assert request.raw_input_contents[0] == data.tobytes()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_call_over_grpc_is_one_that_a_grpc_server_answers(fails: bool) -> None:
    calls: list[bytes] = []

    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        calls.append(request)
        if fails:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return b"answer"

    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    _, service, method = METHOD.split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # Longer together than the window that a connection begins with.
    request = b"x" * 10_000
    result = await closed_loop(port, request, clients=2, seconds=0.5, warm_up=0, connect=grpc_load.connect)
    await server.stop(None)
    assert result.statuses().keys() == {LOST if fails else 200}
    assert result.total == len(calls) >= 8
    assert set(calls) == {request}


@pytest.mark.parametrize(
    ("value", "at_least", "met", "wanted"), [(2, False, True, "≤ 2"), (3, False, False, "≤ 2"), (3, True, True, "≥ 2")]
)
def test_a_goal_is_a_bound_from_above_or_below(value: float, at_least: bool, met: bool, wanted: str) -> None:
    goal = Goal("name", value, 2, at_least=at_least)
    assert goal.met is met
    assert goal_rows([goal])[1][2] == wanted
