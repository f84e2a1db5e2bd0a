"""The gRPC port as seen from the wire: what no well-behaved library would send, and clients that are slow."""

import asyncio
import contextlib
import gc
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import hpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemodel_server.grpc import connections
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.call import Call
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.service import Service, load_model
from tests.unit.server.builders import identity, mlp
from tests.unit.server.http2 import (
    DATA,
    DEADLINE_EXCEEDED,
    END_HEADERS,
    END_STREAM,
    FIELDS,
    GOAWAY,
    HEADERS,
    INVALID_ARGUMENT,
    OK,
    RESOURCE_EXHAUSTED,
    ROW,
    RST_STREAM,
    UNIMPLEMENTED,
    WINDOW_UPDATE,
    Raw,
    Serving,
    expected,
    frame,
    logits,
    message,
)
from tests.unit.server.test_limits import HeldEngine

MIB = 1024 * 1024


def floats(size: int) -> bytes:
    """A request of so many floats, for the identity of ``in_FP32``."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="in_FP32", datatype="FP32", shape=[1, size])
    content = np.arange(size, dtype=np.float32).tobytes()
    return pb.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[content]).SerializeToString()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def held(serving: Serving, least: float) -> None:
    """Wait until so many bytes are charged to clients."""
    await until(lambda: serving.service.budget.memory.used >= least)


async def nothing_held(serving: Serving) -> None:
    await until(lambda: serving.service.budget.memory.used == 0)


@pytest.mark.parametrize(
    ("content", "fields", "status", "sentence"),
    [
        (b"", {}, INVALID_ARGUMENT, "the call has no message, or one of more than 10000 bytes"),
        (message(b"\xff"), {}, INVALID_ARGUMENT, "the message is not a inference.ModelInferRequest"),
        (message(bytes(12_000)), {}, RESOURCE_EXHAUSTED, "larger than max (12000 vs. 10000)"),
        (
            message(gzip.compress(bytes(200_000)), 1),
            {"grpc_encoding": "gzip"},
            RESOURCE_EXHAUSTED,
            "larger than 10000 bytes",
        ),
        (message(zlib.compress(bytes(200_000)), 1), {"grpc_encoding": "deflate"}, RESOURCE_EXHAUSTED, "larger than"),
        (message(ROW), {"__path": "/none/\u00e9"}, UNIMPLEMENTED, "there is no such method"),
        (message(ROW), {"__path": "/inference.GRPCInferenceService/Model"}, UNIMPLEMENTED, "there is no such method"),
    ],
)
async def test_what_is_no_call_is_refused_by_a_status(
    served: Callable[..., Any], content: bytes, fields: dict[str, str | None], status: int, sentence: str
) -> None:
    serving = await served(EDGEMODEL_MAX_BODY="10k")
    raw = await serving.open()
    raw.send(raw.call(1, content, **fields))
    found = await raw.answer(1)
    assert found.status[0] == status
    assert sentence in found.status[1]
    assert await expected(raw, 3)
    await nothing_held(serving)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_messages_are_read(served: Callable[..., Any], coding: str, pack: Any) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(pack(ROW), 1), grpc_encoding=coding, grpc_timeout="5S"))
    assert logits((await raw.answer(1)).content) == await expected(raw, 3)


async def test_a_path_of_any_bytes_does_not_end_the_server(served: Callable[..., Any]) -> None:
    serving = await served()
    for path in (b"\xff", b"/\xff/\xfe", b"/inference.GRPCInferenceService/\xc3", b"\0", b""):
        raw = await serving.open()
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
        block = raw.encoder.encode([*fields, (b"content-type", b"application/grpc"), (b"te", b"trailers")])
        raw.send(frame(HEADERS, END_HEADERS, 1, block), frame(DATA, END_STREAM, 1, message(ROW)))
        # gRPC resets the stream, or answers with a status.
        assert (await raw.answer(1)).headers.get("grpc-status") != "0"
        assert await expected(await serving.open(), 1)


async def test_large_metadata_ends_its_call_alone(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(ROW), x_long="z" * 16_400))
    answer = await raw.answer(1)
    assert answer.reset is not None or answer.status[0] == RESOURCE_EXHAUSTED
    assert await expected(raw, 3)


async def test_metadata_is_counted_with_all_that_one_name_has(served: Callable[..., Any]) -> None:
    # Before a client has acknowledged the settings gRPC takes sixteen mebibytes of it.
    raw = await (await served()).open()
    many = b"\x40\x01x\x01y" + b"\xbe" * 1000
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block() + many), frame(DATA, END_STREAM, 1, message(ROW)))
    code, sentence = (await raw.answer(1)).status
    assert (code, "metadata has 3" in sentence) == (RESOURCE_EXHAUSTED, True)
    await raw.close()


async def ended(raw: Raw, count: int) -> set[int]:
    """The next ``count`` streams that end."""
    found: set[int] = set()
    while len(found) < count:
        came = await raw.frame()
        if came.kind == HEADERS and came.flags & END_STREAM:
            found.add(came.stream)
    return found


async def test_calls_are_answered_beside_each_other(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(*(raw.call(stream, message(ROW)) for stream in range(1, 60, 2)))
    assert await ended(raw, 30) == set(range(1, 60, 2))


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_call_that_is_given_up_leaves_the_queue(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    serving = await served()
    first, second = await serving.open(), await serving.open()
    engine = HeldEngine(monkeypatch)
    try:
        first.send(first.call(1, message(ROW)))
        assert await asyncio.to_thread(engine.begun.wait, 30)
        second.send(second.call(1, message(ROW)))
        await until(lambda: serving.service.scheduler.waiting == 1)
        if how == "reset":
            second.send(frame(RST_STREAM, 0, 1, bytes(4)))
        else:
            await second.close()
        await until(lambda: serving.service.scheduler.waiting == 0)
        await until(lambda: 'rejected_total{reason="cancelled"} 1.0' in serving.service.metrics.render().decode())
    finally:
        engine.release.set()
    assert (await first.answer(1)).status == (OK, "")


async def test_the_end_is_announced_and_calls_begun_are_answered(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = await served()
    raw = await serving.open()
    engine = HeldEngine(monkeypatch)
    try:
        raw.send(raw.call(1, message(ROW)))
        assert await asyncio.to_thread(engine.begun.wait, 30)
        stopping = asyncio.create_task(serving.server.stop(30))
        assert (await raw.until(GOAWAY)).content[4:8] == bytes(4)
        assert not stopping.done()
    finally:
        engine.release.set()
    assert (await raw.answer(1)).status == (OK, "")
    await stopping
    assert await raw.reader.read() is not None


async def test_a_message_that_does_not_come_is_waited_for_no_longer_than_a_body(served: Callable[..., Any]) -> None:
    serving = await served(EDGEMODEL_BODY_TIMEOUT="200ms")
    raw = await serving.open()
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()), frame(DATA, 0, 1, message(ROW)[:9]))
    assert (await raw.answer(1)).status == (DEADLINE_EXCEEDED, "the message did not arrive within 0.2 seconds")
    assert await expected(raw, 3)
    await nothing_held(serving)


LARGE = {"EDGEMODEL_MAX_BODY": "4Mi", "EDGEMODEL_MAX_BUFFERED": "12Mi"}
"""Room for three bodies: one connection may hold half of it, one client two thirds."""


async def begin_slowly(serving: Serving, content: bytes) -> Raw:
    """A connection whose stream 1 has sent the first kilobyte of ``content``, and is found to be slow."""
    raw = await serving.open((4, 0))
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()))
    await raw.send_within_windows(1, content[:1024], last=False)
    known = len(serving.server._connections._bases)
    await until(lambda: len(serving.server._connections._bases) > known)
    return raw


def open_windows(raw: Raw) -> None:
    raw.send(*(frame(WINDOW_UPDATE, 0, stream, (2**30).to_bytes(4, "big")) for stream in (0, 1)))


async def test_a_message_that_comes_slowly_is_charged_as_it_comes(served: Callable[..., Any]) -> None:
    serving = await served(identity(["FP32"], [1, "N"]))
    content = message(floats(2 * MIB))
    raw = await begin_slowly(serving, content)
    assert await raw.send_within_windows(1, content[1024 : 4 * MIB], last=False)
    await held(serving, 3.5 * MIB)
    assert await raw.send_within_windows(1, content[4 * MIB :])
    open_windows(raw)
    assert (await raw.answer(1)).status == (OK, "")
    await nothing_held(serving)


async def test_slow_messages_have_no_more_room_than_their_client(served: Callable[..., Any]) -> None:
    serving = await served(identity(["FP32"], [1, "N"]), **LARGE)
    content = message(floats(MIB - 100))
    raws = [await begin_slowly(serving, content) for _ in range(4)]
    part = content[1024 : 7 * MIB // 2]
    for raw in raws:
        if await raw.send_within_windows(1, part, last=False):
            await held(serving, 3 * MIB)
        assert serving.service.budget.memory.used <= 9 * MIB
    refused = [asyncio.create_task(raw.answer(1)) for raw in raws]
    done, waiting = await asyncio.wait(refused, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    assert {task.result().status[0] for task in done} == {RESOURCE_EXHAUSTED}
    for raw in raws:
        await raw.close()
    await nothing_held(serving)


async def test_answers_that_are_not_read_are_charged_until_they_are(served: Callable[..., Any]) -> None:
    serving = await served(identity(["FP32"], [1, "N"]), **LARGE)
    # The message, the model's output and the answer that is made of it.
    content = message(floats(MIB * 3 // 8))
    raw = await serving.open((4, 0))
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()))
    assert await raw.send_within_windows(1, content)
    await held(serving, 3 * MIB)
    raw.send(frame(HEADERS, END_HEADERS, 3, raw.block()))
    await raw.send_within_windows(3, content)
    code, sentence = (await raw.answer(3)).status
    assert (code, "read their answers first" in sentence) == (RESOURCE_EXHAUSTED, True)
    open_windows(raw)
    assert len((await raw.answer(1)).content) > MIB * 3 // 2
    await nothing_held(serving)


async def test_a_connection_whose_answers_are_not_taken_is_ended(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(connections, "SLOWEST_RATE", 2**40)
    serving = await served(identity(["FP32"], [1, "N"]))
    raw, other = await serving.open((4, 0)), await serving.open()
    raw.send(raw.call(1, message(floats(100))))
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            await raw.reader.read()
    await nothing_held(serving)
    other.send(other.call(1, message(floats(1))))
    assert (await other.answer(1)).status == (OK, "")


async def test_a_client_has_no_more_calls_open_than_its_share(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CALLS", 3)
    raw = await (await served(EDGEMODEL_QUEUE_LIMIT="1")).open()
    raw.send(*(frame(HEADERS, END_HEADERS, stream, raw.block()) for stream in (1, 3, 5)))
    code, sentence = (await raw.answer(5)).status
    assert (code, "as many as one client may have open" in sentence) == (RESOURCE_EXHAUSTED, True)
    raw.send(frame(DATA, END_STREAM, 1, message(ROW)))
    assert (await raw.answer(1)).status == (OK, "")
    assert await expected(raw, 7)


async def test_a_call_that_has_ended_is_no_garbage(served: Callable[..., Any]) -> None:
    # What is garbage stays in memory until the collector comes, which is seldom: all that came with thousands of calls.
    serving = await served(EDGEMODEL_BODY_TIMEOUT="1s")
    raw, leaving = await serving.open(), await serving.open()
    gc.collect()
    gc.disable()
    try:
        raw.send(raw.call(1, message(ROW), x_mark="of the test"))
        raw.send(raw.call(3, message(b"\xff"), x_mark="of the test"))
        raw.send(frame(HEADERS, END_HEADERS, 5, raw.block(__path="/nobody/Serves", x_mark="of the test")))
        raw.send(frame(HEADERS, END_HEADERS, 7, raw.block(x_mark="of the test")))
        statuses = [(await raw.answer(stream)).status[0] for stream in (1, 3, 5, 7)]
        assert statuses == [OK, INVALID_ARGUMENT, UNIMPLEMENTED, DEADLINE_EXCEEDED]
        leaving.send(frame(HEADERS, END_HEADERS, 1, leaving.block(x_mark="of the test")))
        await until(lambda: len(marked()) == 1)
        await leaving.close()
        await until(lambda: not marked())
    finally:
        gc.enable()


def marked() -> list[object]:
    """What of calls with ``x-mark`` is in memory: they themselves, and what came with them."""
    objects = gc.get_objects()
    calls = [found for found in objects if type(found) is Call and b"x-mark" in found.headers]
    return calls + [found for found in objects if issubclass(type(found), tuple) and any(map(is_mark, found))]


def is_mark(item: object) -> bool:
    """Asks nothing of objects that are not of this test: others' tests leave some that answer with errors."""
    return issubclass(type(item), tuple) and len(item) == 2 and type(item[0]) is str and item[0] == "x-mark"  # type: ignore[arg-type, index]


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 37, 255]),
    st.sampled_from([0, 1, 2, 3, 5, 2**31 - 1]),
    st.binary(max_size=40)
    | st.sampled_from(
        [bytes(4), bytes(8), b"\0\0\0\1", message(ROW), message(ROW)[:9], hpack.Encoder().encode(list(FIELDS.items()))]
    ),
)


def test_whatever_comes_the_next_connection_is_served(
    new_service: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    async def start() -> Serving:
        service = new_service(mlp())
        service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))
        server = GrpcServer(service, None)
        return Serving(service, server, await server.start(("127.0.0.1", 0)))

    async def exchange(serving: Serving, sent: list[bytes]) -> None:
        raw = await serving.open()
        raw.send(*sent)
        with contextlib.suppress(OSError):
            raw.writer.write_eof()
            async with asyncio.timeout(30):
                await raw.reader.read()
        await raw.close()
        assert await expected(await serving.open(), 1)
        await nothing_held(serving)

    with asyncio.Runner() as runner:
        serving = runner.run(start())

        @settings(max_examples=100, deadline=None)
        @given(st.lists(FRAMES | st.binary(max_size=60), max_size=12))
        def check(sent: list[bytes]) -> None:
            runner.run(exchange(serving, sent))
            assert not caplog.records

        check()
        runner.run(serving.server.stop(0))
        serving.service.close()
