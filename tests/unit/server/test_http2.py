"""HTTP/2 under gRPC, as a client sees it that keeps to the rules."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgemodel_server.grpc import connection as connections
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.service import Service
from tests.unit.server.builders import identity
from tests.unit.server.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OK,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    REFUSED_STREAM,
    ROW,
    RST_STREAM,
    SETTINGS,
    UNIMPLEMENTED,
    WINDOW_UPDATE,
    Raw,
    expected,
    frame,
    logits,
    message,
)
from tests.unit.server.test_limits import HeldEngine


async def test_a_call_is_the_same_in_every_form_the_protocol_allows(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    plain = await expected(raw, 1)
    assert len(plain) == 3
    content = message(ROW)
    block = raw.block()
    forms = [
        raw.call(3, content),
        frame(HEADERS, END_HEADERS | PADDED | PRIORITIZED, 5, b"\x03" + bytes(5) + block + bytes(3))
        + frame(DATA, END_STREAM | PADDED, 5, b"\x04" + content + bytes(4)),
        frame(HEADERS, 0, 7, block[:2])
        + frame(CONTINUATION, 0, 7, block[2:3])
        + frame(CONTINUATION, END_HEADERS, 7, block[3:])
        + frame(DATA, 0, 7, content[:3])
        + frame(DATA, 0, 7, content[3:])
        + frame(DATA, END_STREAM, 7),
        frame(HEADERS, END_HEADERS, 9, block)
        + b"".join(frame(DATA, 0, 9, content[index : index + 1]) for index in range(len(content)))
        + frame(HEADERS, END_HEADERS | END_STREAM, 9, raw.encoder.encode([("x-checksum", "7")])),
        frame(PRIORITY, 0, 11, bytes(5)) + frame(99, 0, 0, b"?") + raw.call(11, content, x_new="1"),
    ]
    for index, form in enumerate(forms):
        raw.send(form)
        answer = await raw.answer(3 + 2 * index)
        assert answer.status == (OK, "")
        assert logits(answer.content) == plain


async def test_it_does_not_matter_how_the_bytes_are_cut(served: Callable[..., Any]) -> None:
    serving = await served()
    whole = await serving.open()
    plain = await expected(whole, 1)
    raw = await serving.open(preface=b"")
    for byte in PREFACE + frame(SETTINGS) + raw.call(1, message(ROW)):
        raw.send(bytes((byte,)))
        await raw.writer.drain()
        await asyncio.sleep(0)
    assert logits((await raw.answer(1)).content) == plain


async def test_headers_that_come_again_mean_what_they_meant_then(served: Callable[..., Any]) -> None:
    """The indices of a block depend on those before it: the same bytes may mean another path later."""
    raw = await (await served()).open()
    for turn in range(40):
        known = turn % 3 != 1
        path = "/inference.GRPCInferenceService/ModelInfer" if known else f"/none/{turn}"
        stream = 2 * turn + 1
        raw.send(raw.call(stream, message(ROW), __path=path, x_turn=str(turn // 5)))
        assert (await raw.answer(stream)).status[0] == (OK if known else UNIMPLEMENTED)


async def test_the_table_of_headers_may_shrink_and_grow(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    for turn, size in enumerate((0, 64, 4096, 100, 4096)):
        raw.encoder.header_table_size = size
        for again in range(2):
            stream = 4 * turn + 2 * again + 1
            raw.send(raw.call(stream, message(ROW), x_size=str(size)))
            assert (await raw.answer(stream)).status == (OK, "")


async def ended(raw: Raw, count: int) -> set[int]:
    """The next ``count`` streams that end."""
    found: set[int] = set()
    while len(found) < count:
        came = await raw.frame()
        if came.kind == HEADERS and came.flags & END_STREAM:
            found.add(came.stream)
    return found


async def test_a_client_may_send_pings_with_its_calls(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(frame(WINDOW_UPDATE, 0, 0, (2**20).to_bytes(4, "big")))
    for first in range(1, 3000, 100):
        streams = range(first, first + 100, 2)
        raw.send(*(raw.call(stream, message(ROW)) + frame(PING, 0, 0, bytes(8)) for stream in streams))
        assert await ended(raw, 50) == set(streams)


async def test_calls_are_answered_beside_each_other(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(*(raw.call(stream, message(ROW)) for stream in range(1, 200, 2)))
    assert await ended(raw, 100) == set(range(1, 200, 2))


def large(size: int) -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(name="in_FP32", datatype="FP32", shape=[size])
    content = np.arange(size, dtype=np.float32).tobytes()
    return pb.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[content]).SerializeToString()


async def test_an_answer_waits_for_room_on_its_stream_and_on_the_connection(served: Callable[..., Any]) -> None:
    serving = await served(identity(["FP32"], ["N"]))
    raw = await serving.open((4, 1000))
    content = message(large(50_000))
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()))
    for start in range(0, len(content), 16384):
        raw.send(frame(DATA, END_STREAM if start + 16384 >= len(content) else 0, 1, content[start : start + 16384]))
    got = len((await raw.until(DATA, 1)).content)
    assert got == 1000
    raw.send(frame(PING, 0, 0, b"nothing!"))
    assert (await raw.until(PING)).content == b"nothing!"
    raw.send(frame(WINDOW_UPDATE, 0, 1, (2**20).to_bytes(4, "big")))
    while got < 65535:
        found = await raw.until(DATA, 1)
        assert len(found.content) <= 16384
        got += len(found.content)
    assert got == 65535
    raw.send(raw.call(3, message(b"")))
    assert (await raw.answer(3)).status[0] == 5  # what has no content is not held up
    raw.send(frame(SETTINGS, 0, 0, (4).to_bytes(2, "big") + (500).to_bytes(4, "big")))
    raw.send(frame(WINDOW_UPDATE, 0, 0, (2**20).to_bytes(4, "big")))
    rest = await raw.answer(1)
    assert rest.status == (OK, "")
    assert got + len(rest.content) > 200_000


async def test_an_answer_larger_than_the_sockets_hold_waits_for_its_client_to_read(
    served: Callable[..., Any],
) -> None:
    raw = await (await served(identity(["FP32"], [1, "N"]))).open((4, 2**31 - 1), (5, 2**24 - 1))
    tensor = pb.ModelInferRequest.InferInputTensor(name="in_FP32", datatype="FP32", shape=[1, 3_900_000])
    values = np.arange(3_900_000, dtype=np.float32).tobytes()
    request = pb.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[values])
    content = message(request.SerializeToString())
    raw.send(frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4, "big")), frame(HEADERS, END_HEADERS, 1, raw.block()))
    for start in range(0, len(content), 65536):
        raw.send(frame(DATA, END_STREAM if start + 65536 >= len(content) else 0, 1, content[start : start + 65536]))
        await raw.writer.drain()
    answer = await raw.answer(1)
    assert answer.status == (OK, "")
    assert pb.ModelInferResponse.FromString(answer.content[5:]).raw_output_contents[0] == values


async def test_a_client_that_sends_much_is_told_that_it_was_received(served: Callable[..., Any]) -> None:
    serving = await served(identity(["FP32"], ["N"]))
    raw = await serving.open()
    content = message(large(3_000_000))
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()))
    await raw.until(SETTINGS)
    window, position, updated = 1024 * 1024, 0, {0: 0, 1: 0}
    while position < len(content):
        size = min(16384, window, len(content) - position)
        if size:
            ended = position + size == len(content)
            raw.send(frame(DATA, END_STREAM if ended else 0, 1, content[position : position + size]))
            position, window = position + size, window - size
        else:
            found = await raw.until(WINDOW_UPDATE)
            updated[found.stream] += found.number
            window += found.number if found.stream == 1 else 0
    assert updated[1] > 10_000_000
    found = await raw.until(HEADERS, 1)
    assert not found.flags & END_STREAM


async def waiting(service: Service, count: int) -> None:
    async with asyncio.timeout(30):
        while service.scheduler.waiting != count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["reset", "at once", "closed"])
async def test_a_call_that_is_given_up_leaves_the_queue(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    serving = await served()
    first, second = await serving.open(), await serving.open()
    engine = HeldEngine(monkeypatch)
    try:
        first.send(first.call(1, message(ROW)))
        assert await asyncio.to_thread(engine.begun.wait, 30)
        first.send(first.call(3, message(ROW)))
        await waiting(serving.service, 1)
        call, reset = second.call(1, message(ROW)), frame(RST_STREAM, 0, 1, bytes(4))
        if how == "at once":
            second.send(call, reset, frame(PING, 0, 0, bytes(8)))
            await second.until(PING)
        else:
            second.send(call)
            await waiting(serving.service, 2)
            if how == "reset":
                second.send(reset)
            else:
                await second.close()
        await waiting(serving.service, 1)
        text = serving.service.metrics.render().decode()
        assert 'edgemodel_requests_rejected_total{reason="cancelled"} 1.0' in text
    finally:
        engine.release.set()
    assert (await first.answer(3)).status == (OK, "")


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
        first = await raw.until(GOAWAY)
        assert first.content[:8] == b"\x7f\xff\xff\xff" + bytes(4)
        ping = await raw.until(PING)
        raw.send(raw.call(3, message(ROW)), frame(PING, 1, 0, ping.content))
        last = await raw.until(GOAWAY)
        assert last.content[:8] == (3).to_bytes(4, "big") + bytes(4)
        raw.send(raw.call(5, message(ROW)))
        assert (await raw.answer(5)).reset == REFUSED_STREAM
        assert not stopping.done()
    finally:
        engine.release.set()
    assert (await raw.answer(1)).status == (OK, "")
    assert (await raw.answer(3)).status == (OK, "")
    await stopping
    assert await raw.reader.read() == b""


@pytest.mark.parametrize("sent", ["nothing", "preface", "block", "message", "window"])
async def test_who_does_not_go_on_is_left(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    for name in ("CHECK_SECONDS", "START_SECONDS", "STALLED_SECONDS"):
        monkeypatch.setattr(connections, name, 0.02)
    serving = await served(EDGEMODEL_BODY_TIMEOUT_SECONDS="0.02")
    raw = await serving.open((4, 1), preface=PREFACE if sent != "nothing" else b"")
    if sent == "block":
        raw.send(frame(HEADERS, 0, 1, raw.block()))
    if sent in ("nothing", "block"):
        async with asyncio.timeout(30):
            await raw.reader.read()
    if sent == "message":
        raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()), frame(DATA, 0, 1, message(ROW)[:9]))
        assert (await raw.answer(1)).status == (4, "the message did not arrive within 0.02 seconds")
    if sent == "window":
        raw.send(raw.call(1, message(ROW)))
        assert (await raw.answer(1)).reset == 8
