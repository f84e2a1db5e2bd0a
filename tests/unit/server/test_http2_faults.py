"""HTTP/2 under gRPC, as clients see it that break its rules, or ask too much."""

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemodel_server.grpc import connection as connections
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.service import Service, load_model
from tests.unit.server.builders import mlp
from tests.unit.server.http2 import (
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FIELDS,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADERS,
    INVALID_ARGUMENT,
    NO_ERROR,
    OK,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RESOURCE_EXHAUSTED,
    ROW,
    RST_STREAM,
    SETTINGS,
    UNIMPLEMENTED,
    WINDOW_UPDATE,
    Serving,
    expected,
    frame,
    logits,
    message,
)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 2), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"123"), FRAME_SIZE_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff"), COMPRESSION_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b"\x40\x01"), COMPRESSION_ERROR),
        (frame(HEADERS, 0, 1, b"\x82") + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(16384)) * 3, ENHANCE_YOUR_CALM),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 600, ENHANCE_YOUR_CALM),
        (frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"\0\2\0\0\0\2"), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, b"\0\4\x80\0\0\0"), FLOW_CONTROL_ERROR),
        (frame(SETTINGS, 0, 0, b"\0\5\0\0\0\1"), PROTOCOL_ERROR),
        (frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 1, b"1"), FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 1, b"1"), FRAME_SIZE_ERROR),
        (frame(PUSH_PROMISE, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(4)), FLOW_CONTROL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), FLOW_CONTROL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"1"), FRAME_SIZE_ERROR),
        (b"\x01\x00\x01" + bytes(6), FRAME_SIZE_ERROR),
        (frame(PING, 0, 0, bytes(8)) * 600, ENHANCE_YOUR_CALM),
        (frame(SETTINGS) * 600, ENHANCE_YOUR_CALM),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_left(served: Callable[..., Any], sent: bytes, code: int) -> None:
    serving = await served()
    raw = await serving.open()
    raw.send(sent)
    found, sentence = await raw.fault()
    assert (found, bool(sentence)) == (code, True)
    assert await expected(await serving.open(), 1)


@pytest.mark.parametrize(
    ("preface", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: server\r\n\r\n", PROTOCOL_ERROR),
        (PREFACE + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (PREFACE + frame(SETTINGS, 1), PROTOCOL_ERROR),
    ],
)
async def test_what_does_not_begin_as_it_must_is_left(served: Callable[..., Any], preface: bytes, code: int) -> None:
    raw = await (await served()).open(preface=preface)
    assert (await raw.fault())[0] == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"__path": None}, PROTOCOL_ERROR),
        ({"__method": None}, PROTOCOL_ERROR),
        ({"__status": "200"}, PROTOCOL_ERROR),
        ({"connection": "close"}, PROTOCOL_ERROR),
        ({"X_Upper": "1"}, PROTOCOL_ERROR),
        ({"x_line": "a\r\nb"}, PROTOCOL_ERROR),
    ],
)
async def test_headers_of_no_request_end_their_stream_alone(
    served: Callable[..., Any], fields: dict[str, str | None], code: int
) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(ROW), **fields))
    assert (await raw.answer(1)).reset == code
    assert await expected(raw, 3)


async def test_more_headers_than_allowed_end_the_connection(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(ROW), x_long="z" * 20_000))
    assert (await raw.fault())[0] == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(WINDOW_UPDATE, 0, 1, bytes(4)), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), FLOW_CONTROL_ERROR),
        (frame(HEADERS, END_HEADERS, 1, b""), PROTOCOL_ERROR),
    ],
)
async def test_a_stream_that_breaks_the_protocol_ends_alone(served: Callable[..., Any], sent: bytes, code: int) -> None:
    raw = await (await served()).open()
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()), sent)
    assert (await raw.answer(1)).reset == code
    assert await expected(raw, 3)


@pytest.mark.parametrize(
    ("content", "fields", "status", "sentence"),
    [
        (b"", {}, INVALID_ARGUMENT, "the call has not exactly one message"),
        (message(ROW)[:-1], {}, INVALID_ARGUMENT, "the call has not exactly one message"),
        (message(ROW) * 2, {}, INVALID_ARGUMENT, "the call has not exactly one message"),
        (message(ROW, 2), {}, INVALID_ARGUMENT, "the message's first byte is 2"),
        (message(b"\xff"), {}, INVALID_ARGUMENT, "the message is not a inference.ModelInferRequest"),
        (message(bytes(20_000)), {}, RESOURCE_EXHAUSTED, "the message is larger than 10000 bytes"),
        (message(ROW, 1), {}, UNIMPLEMENTED, "grpc-encoding is 'identity'; send gzip, deflate"),
        (message(ROW, 1), {"grpc_encoding": "snappy"}, UNIMPLEMENTED, "grpc-encoding is 'snappy'"),
        (message(ROW, 1), {"grpc_encoding": "gzip"}, INVALID_ARGUMENT, "the message is not gzip"),
        (
            message(gzip.compress(bytes(200_000)), 1),
            {"grpc_encoding": "gzip"},
            RESOURCE_EXHAUSTED,
            "the body is larger than 10000 bytes when unpacked",
        ),
        (message(ROW), {"grpc_timeout": "soon"}, INVALID_ARGUMENT, "grpc-timeout is 'soon'"),
        (message(ROW), {"grpc_timeout": "123456789S"}, INVALID_ARGUMENT, "grpc-timeout is '123456789S'"),
        (message(ROW), {"__path": "/none/é"}, UNIMPLEMENTED, "there is no '/none/%C3%83%C2%A9' here"),
    ],
)
async def test_what_is_no_call_is_refused_by_a_status(
    served: Callable[..., Any], content: bytes, fields: dict[str, str | None], status: int, sentence: str
) -> None:
    raw = await (await served(EDGEMODEL_MAX_BODY="10k")).open()
    raw.send(raw.call(1, content, **fields))
    found = await raw.answer(1)
    assert found.status[0] == status
    assert sentence in found.status[1]
    assert await expected(raw, 3)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_messages_are_read(served: Callable[..., Any], coding: str, pack: Any) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(pack(ROW), 1), grpc_encoding=coding, grpc_timeout="5S"))
    assert logits((await raw.answer(1)).content) == await expected(raw, 3)


@pytest.mark.parametrize(("fields", "status"), [({"__method": "GET"}, "405"), ({"content_type": "text/html"}, "415")])
async def test_what_is_not_grpc_gets_a_status_of_http(
    served: Callable[..., Any], fields: dict[str, str | None], status: str
) -> None:
    raw = await (await served()).open()
    raw.send(raw.call(1, message(ROW), **fields))
    assert (await raw.answer(1)).headers[":status"] == status
    assert await expected(raw, 3)


async def test_a_message_over_the_limit_is_refused_before_it_comes(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    raw.send(frame(HEADERS, END_HEADERS, 1, raw.block()), frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"))
    assert (await raw.answer(1)).status[0] == RESOURCE_EXHAUSTED
    assert (await raw.until(RST_STREAM, 1)).number == NO_ERROR
    raw.send(frame(DATA, 0, 1, bytes(16384)) * 60)
    assert await expected(raw, 3)


async def test_calls_beyond_those_allowed_at_a_time_are_refused(served: Callable[..., Any]) -> None:
    raw = await (await served()).open()
    most = connections.MAX_CONCURRENT_STREAMS
    raw.send(*(frame(HEADERS, END_HEADERS, 2 * index + 1, raw.block()) for index in range(most + 1)))
    assert (await raw.answer(2 * most + 1)).reset == REFUSED_STREAM
    raw.send(frame(DATA, END_STREAM, 1, message(ROW)))
    assert (await raw.answer(1)).status == (OK, "")
    assert await expected(raw, 2 * most + 3)


async def test_a_client_that_begins_and_gives_up_without_end_is_left(served: Callable[..., Any]) -> None:
    serving = await served()
    raw = await serving.open()
    block = raw.block()
    raw.send(
        *(
            frame(HEADERS, END_HEADERS, stream, block if stream == 1 else raw.block())
            + frame(RST_STREAM, 0, stream, bytes(4))
            for stream in range(1, 1400, 2)
        )
    )
    assert (await raw.fault())[0] == ENHANCE_YOUR_CALM
    assert await expected(await serving.open(), 1)


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


def test_whatever_comes_the_server_ends_the_connection_and_serves_the_next(
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
        assert serving.service.budget.memory.used == 0

    with asyncio.Runner() as runner:
        serving = runner.run(start())

        @settings(max_examples=200, deadline=None)
        @given(st.lists(FRAMES | st.binary(max_size=60), max_size=12))
        def check(sent: list[bytes]) -> None:
            runner.run(exchange(serving, sent))
            assert not caplog.records

        check()
        runner.run(serving.server.stop(0))
        serving.service.close()
