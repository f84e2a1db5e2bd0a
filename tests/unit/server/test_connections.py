"""Raw connections: slow, hanging, pipelined, cut off, not HTTP at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import onnx
import orjson
import pytest

from edgemodel_server.http.app import App
from edgemodel_server.http.parsing import HEADER_BYTES
from edgemodel_server.http.server import Server, listen
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.protocol.calls import Answer
from edgemodel_server.service import Service, load_model
from tests.unit.server.builders import countdown, mlp
from tests.unit.server.test_infer import INFER, ROW
from tests.unit.server.test_limits import HeldEngine

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Listening:
    def __init__(self, service: Service, server: Server, port: int) -> None:
        self.service, self.server, self._port = service, server, port

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def exchange(self, content: bytes) -> bytes:
        """All that is answered until the connection closes."""
        reader, writer = await self.connect()
        writer.write(content)
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        return answer


Open = Callable[..., Any]


@pytest.fixture
def listening(new_service: Callable[..., Service]) -> Open:
    @asynccontextmanager
    async def build(model: onnx.ModelProto, **env: str) -> AsyncIterator[Listening]:
        service = new_service(model, env)
        service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))
        listener = listen(("127.0.0.1", 0))
        app = App(service)
        server = Server(app, None, app.try_inline, service.budget)
        await server.start(listener)
        yield Listening(service, server, listener.getsockname()[1])
        await server.close(1.0)
        service.scheduler.close()

    return build


def request(body: bytes, *headers: str, path: str = INFER) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: server", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split()[0])
        return int(head.split()[1]), orjson.loads(await reader.readexactly(length))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


GOOD = orjson.dumps({"inputs": [ROW]})


@pytest.mark.parametrize(
    "content", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"]
)
async def test_what_is_not_http_is_a_400_in_json(listening: Open, content: bytes) -> None:
    async with listening(mlp()) as server:
        head, _, body = (await server.exchange(content)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert orjson.loads(body)["error"]


@pytest.mark.parametrize("line", [b"x-long: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
async def test_headers_without_end_are_a_431(listening: Open, line: bytes) -> None:
    async with listening(mlp()) as server:
        reader, writer = await server.connect()
        writer.write(b"GET /v2 HTTP/1.1\r\nfirst: ")
        sent, head = 0, b""
        # The connection may be reset before the answer is read, for there is more in it than the server takes.
        with contextlib.suppress(ConnectionError):
            while sent < 100 * HEADER_BYTES:
                writer.write(line)
                sent += len(line)
                await writer.drain()
                # Or else nobody reads what the kernel still has room for.
                await asyncio.sleep(0)
                if reader.at_eof():
                    break
        with contextlib.suppress(ConnectionError):
            head = await reader.read(40)
        writer.close()
    assert head == b"" or head.startswith(b"HTTP/1.1 431")
    assert sent < 100 * HEADER_BYTES


@pytest.mark.parametrize("begin", [b"", b"POST /predict HTTP/1.1\r\nHost:"])
async def test_a_connection_that_hangs_is_closed(
    listening: Open, begin: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemodel_server.http.connection.HEADER_SECONDS", 0.05)
    monkeypatch.setattr("edgemodel_server.http.server.SWEEP_SECONDS", 0.02)
    async with listening(mlp()) as server:
        assert await server.exchange(begin) == b""


async def test_a_client_that_is_slow_with_its_body_is_refused_and_others_are_served(listening: Open) -> None:
    async with listening(mlp(), EDGEMODEL_BODY_TIMEOUT="200ms") as server:
        slow, slow_writer = await server.connect()
        slow_writer.write(request(GOOD)[:-1])
        reader, writer = await server.connect()
        writer.write(request(GOOD))
        assert (await answer(reader))[0] == 200
        status, content = await answer(slow)
        assert status == 408
        assert "0.2 seconds" in content["error"]
        for stream in (slow_writer, writer):
            stream.close()


async def test_pipelined_requests_are_answered_in_order(listening: Open) -> None:
    async with listening(mlp()) as server:
        reader, writer = await server.connect()
        bodies = [orjson.dumps({"id": str(index), "inputs": [ROW]}) for index in range(5)]
        writer.write(b"".join([*map(request, bodies), request(b"{}"), request(bodies[0])]))
        answers = [await answer(reader) for _ in range(7)]
        assert [content.get("id") for _, content in answers] == ["0", "1", "2", "3", "4", None, "0"]
        assert [status for status, _ in answers] == [200] * 5 + [400, 200]
        writer.close()


async def test_a_refused_body_is_not_taken_for_the_next_request(listening: Open) -> None:
    async with listening(mlp()) as server:
        reader, writer = await server.connect()
        inner = request(b"{}", path="/v2/models/other/infer")
        writer.write(request(inner, path="/v2/models/nothing/infer") + request(GOOD))
        assert [(await answer(reader))[0] for _ in range(2)] == [404, 200]
        writer.close()


async def test_a_client_that_leaves_stops_the_computation(listening: Open) -> None:
    endless = {"inputs": [{"name": "count", "shape": [1], "datatype": "INT64", "data": [2**62]}]}
    short = {"inputs": [{"name": "count", "shape": [1], "datatype": "INT64", "data": [3]}]}
    async with listening(countdown()) as server:
        _, writer = await server.connect()
        writer.write(request(orjson.dumps(endless)))
        await until(lambda: "in_flight 1.0" in server.service.metrics.render().decode())
        writer.close()
        reader, writer = await server.connect()
        writer.write(request(orjson.dumps(short)))
        status, content = await answer(reader)
        assert status == 200
        assert content["outputs"][0]["data"] == [3]
        text = server.service.metrics.render().decode()
        assert 'edgemodel_requests_rejected_total{reason="cancelled"} 1.0' in text
        assert 'edgemodel_request_duration_seconds_count{code="499",endpoint="infer"} 1.0' in text
        writer.close()


async def test_a_client_that_leaves_while_it_waits_makes_room(listening: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(mlp(), EDGEMODEL_QUEUE_LIMIT="2") as server:
        engine = HeldEngine(monkeypatch)
        try:
            reader, writer = await server.connect()
            writer.write(request(GOOD))
            assert await asyncio.to_thread(engine.begun.wait, 30)
            _, waiting = await server.connect()
            waiting.write(request(GOOD))
            await until(lambda: server.service.scheduler.waiting == 1)
            waiting.close()
            await until(lambda: server.service.scheduler.waiting == 0)
            late_reader, late = await server.connect()
            late.write(request(GOOD))
            await until(lambda: server.service.scheduler.waiting == 1)
        finally:
            engine.release.set()
        assert [(await answer(stream))[0] for stream in (reader, late_reader)] == [200, 200]
        for stream in (writer, late):
            stream.close()


async def test_one_client_does_not_have_all_the_connections(listening: Open) -> None:
    async with listening(mlp(), EDGEMODEL_MAX_CONNECTIONS="6") as server:
        streams = [await server.connect() for _ in range(4)]
        for reader, writer in streams:
            writer.write(request(GOOD))
            assert (await answer(reader))[0] == 200
        refused, _ = await server.connect()
        status, content = await answer(refused)
        assert status == 503
        assert "too many connections" in content["error"]
        assert await refused.read() == b""
        streams.pop()[1].close()
        await until(lambda: server.service.budget.connections.used == 3)
        reader, writer = await server.connect()
        writer.write(request(GOOD))
        assert (await answer(reader))[0] == 200
        for _, open_one in [*streams, (reader, writer)]:
            open_one.close()


@pytest.mark.parametrize("begin", [b"POST /predict HTTP/1.1\r\nHost: server\r\nX-Long: " + b"a" * 5000])
async def test_what_is_read_of_a_head_is_counted(listening: Open, begin: bytes) -> None:
    async with listening(mlp()) as server:
        _, writer = await server.connect()
        writer.write(begin)
        await until(lambda: server.service.budget.memory.used == len(begin))
        writer.close()
        await until(lambda: server.service.budget.memory.used == 0)


async def test_a_quick_answer_that_nobody_takes_is_counted_and_given_up(
    listening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgemodel_server.http.answer_writer.WRITE_SECONDS", 1.0)
    monkeypatch.setattr("edgemodel_server.http.answer_writer.SLOWEST_BYTES", 2**30)
    monkeypatch.setattr("edgemodel_server.http.server.SWEEP_SECONDS", 0.02)
    size = 16 * 2**20
    monkeypatch.setattr("edgemodel_server.http.app.App.try_inline", lambda *_: Answer(200, [bytes(size)], []))
    async with listening(mlp()) as server:
        _, writer = await server.connect()
        writer.write(request(GOOD))
        await until(lambda: server.service.budget.memory.used > size / 2)
        await until(lambda: server.service.budget.connections.used == 0)
        assert server.service.budget.memory.used == 0
        writer.close()
