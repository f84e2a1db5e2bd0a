"""The gRPC port and the rules of HTTP/2: a client that breaks one loses its stream or its connection, nobody else."""

import pytest

from tests.abuse.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2,
    block,
    block_of,
    frame,
    message,
    settings,
)
from tests.abuse.frames import FIELDS as CALL
from tests.abuse.messages import infer_message
from tests.abuse.server import Target

pytestmark = pytest.mark.usefixtures("attack")

BODY = message(infer_message("rule"))
OPEN = frame(HEADERS, END_HEADERS, 1, block())
ENDED = OPEN + frame(DATA, END_STREAM, 1, BODY)


def without(*names: str, **more: str) -> bytes:
    """The block of a call without some fields, and others at its end."""
    return block_of([*((name, value) for name, value in CALL.items() if name not in names), *more.items()])


BROKEN = {
    "DATA on the connection": frame(DATA, 0, 0, b"x"),
    "DATA on a stream that is not open": frame(DATA, END_STREAM, 1, BODY),
    "DATA on an even stream": frame(DATA, END_STREAM, 2, BODY),
    "DATA after the end": ENDED + frame(DATA, END_STREAM, 1, BODY),
    "DATA with more padding than content": OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\xff" + b"x"),
    "DATA that is padded and empty": OPEN + frame(DATA, PADDED | END_STREAM, 1, b""),
    "HEADERS on the connection": frame(HEADERS, END_HEADERS | END_STREAM, 0, block()),
    "HEADERS on an even stream": frame(HEADERS, END_HEADERS | END_STREAM, 2, block()),
    "HEADERS on a lower stream": frame(HEADERS, END_HEADERS, 5, block()) + frame(HEADERS, END_HEADERS, 3, block()),
    "HEADERS with more padding than content": frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block()),
    "HEADERS that depend on themselves": frame(
        HEADERS, END_HEADERS | END_STREAM | PRIORITIZED, 1, b"\x00\x00\x00\x01\x10" + block()
    ),
    "HEADERS cut short": frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\x00"),
    "CONTINUATION without HEADERS": frame(CONTINUATION, END_HEADERS, 1, block()),
    "CONTINUATION after the end of the fields": OPEN + frame(CONTINUATION, END_HEADERS, 1, block()),
    "CONTINUATION of another stream": frame(HEADERS, 0, 1, block()[:5])
    + frame(CONTINUATION, END_HEADERS, 3, block()[5:]),
    "a frame between HEADERS and CONTINUATION": frame(HEADERS, 0, 1, block()[:5]) + frame(PING, 0, 0, bytes(8)),
    "DATA between HEADERS and CONTINUATION": frame(HEADERS, 0, 1, block()[:5]) + frame(DATA, 0, 1, b"x"),
    "PRIORITY of a wrong size": frame(PRIORITY, 0, 1, b"\x00\x00\x00"),
    "PRIORITY of the connection": frame(PRIORITY, 0, 0, bytes(5)),
    "RST_STREAM of the connection": frame(RST_STREAM, 0, 0, bytes(4)),
    "RST_STREAM of an idle stream": frame(RST_STREAM, 0, 9, bytes(4)),
    "RST_STREAM of a wrong size": OPEN + frame(RST_STREAM, 0, 1, bytes(3)),
    "SETTINGS of a stream": frame(SETTINGS, 0, 1, b""),
    "SETTINGS of a wrong size": frame(SETTINGS, 0, 0, bytes(5)),
    "SETTINGS that acknowledge with content": frame(SETTINGS, 1, 0, bytes(6)),
    "SETTINGS with a window that is too large": settings((INITIAL_WINDOW_SIZE, 2**31)),
    "SETTINGS with frames that are too small": settings((MAX_FRAME_SIZE, 100)),
    "SETTINGS with frames that are too large": settings((MAX_FRAME_SIZE, 2**24)),
    "SETTINGS that neither push nor not": settings((2, 7)),
    "PUSH_PROMISE of a client": OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes((0, 0, 0, 2)) + block()),
    "PING of a stream": frame(PING, 0, 1, bytes(8)),
    "PING of a wrong size": frame(PING, 0, 0, bytes(7)),
    "GOAWAY of a stream": frame(GOAWAY, 0, 1, bytes(8)),
    "GOAWAY of a wrong size": frame(GOAWAY, 0, 0, bytes(3)),
    "WINDOW_UPDATE of nothing": frame(WINDOW_UPDATE, 0, 0, bytes(4)),
    "WINDOW_UPDATE of nothing to a stream": OPEN + frame(WINDOW_UPDATE, 0, 1, bytes(4)),
    "WINDOW_UPDATE of a wrong size": frame(WINDOW_UPDATE, 0, 0, bytes(3)),
    "WINDOW_UPDATE of an idle stream": frame(WINDOW_UPDATE, 0, 7, bytes((0, 0, 0, 1))),
    "WINDOW_UPDATE beyond the largest window": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "WINDOW_UPDATE beyond the largest window of a stream": OPEN + frame(WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff") * 2,
    "a frame larger than allowed": OPEN + frame(DATA, 0, 1, bytes(2**24 - 1)),
    "a frame that says it is larger than allowed": OPEN + b"\xff\xff\xff\x00\x01\x00\x00\x00\x01" + bytes(100_000),
    "fields that are no HPACK": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 40),
    "a field of a table that is not there": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xfe"),
    "a number without end": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" + b"\xff" * 30 + b"\x01"),
    "a string without end": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x7f\xff\xff\xff\x7f" + b"a" * 30),
    "a table larger than allowed": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xff\xff\xff\x0f" + block()),
    "Huffman code that ends wrongly": frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x81\x00\x81\x00" + block()),
    "no method": frame(HEADERS, END_HEADERS | END_STREAM, 1, without(":method")),
    "no path": frame(HEADERS, END_HEADERS | END_STREAM, 1, without(":path")),
    "an empty path": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":path": ""})),
    "two methods": frame(HEADERS, END_HEADERS | END_STREAM, 1, block_of([(":method", "POST"), *CALL.items()])),
    "two paths": frame(HEADERS, END_HEADERS | END_STREAM, 1, block_of([(":path", "/x"), *CALL.items()])),
    "an unknown field with a colon": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":odd": "x"})),
    "a status from a client": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":status": "200"})),
    "a GET": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":method": "GET"})),
    "no type": frame(HEADERS, END_HEADERS | END_STREAM, 1, without("content-type")),
    "another type": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({"content-type": "text/plain"})),
    "a path that nobody serves": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":path": "/x/y"})),
    "a path without a slash": frame(HEADERS, END_HEADERS | END_STREAM, 1, block({":path": "x"})),
    "a body without a message": OPEN + frame(DATA, END_STREAM, 1, b""),
    "a message cut short": OPEN + frame(DATA, END_STREAM, 1, BODY[:-1]),
    "a message's head cut short": OPEN + frame(DATA, END_STREAM, 1, BODY[:3]),
    "a message of four gigabytes that does not come": OPEN + frame(DATA, 0, 1, b"\x00\xff\xff\xff\xff"),
    "two messages": OPEN + frame(DATA, END_STREAM, 1, BODY + BODY),
    "a message with an odd flag": OPEN + frame(DATA, END_STREAM, 1, message(infer_message("x"), flag=7)),
    "a message that is compressed, unsaid": OPEN + frame(DATA, END_STREAM, 1, message(b"\x1f\x8b", flag=1)),
    "a message that is none": OPEN + frame(DATA, END_STREAM, 1, message(b"\xff" * 100)),
}
"""Each is sent on a connection of its own; the stream that is asked for is 1."""

ALLOWED = {
    # Ignored by right, or by many who run: the connection goes on.
    "PRIORITY of the connection",
    "PRIORITY of a wrong size",
    "HEADERS that depend on themselves",
    "DATA after the end",
    "WINDOW_UPDATE of an idle stream",
    "RST_STREAM of an idle stream",
    "DATA on an even stream",
    "DATA on a stream that is not open",
    "SETTINGS that neither push nor not",
    "SETTINGS with a window that is too large",
    "SETTINGS that acknowledge with content",
    "WINDOW_UPDATE beyond the largest window",
    "CONTINUATION after the end of the fields",
    "GOAWAY of a stream",
    "PING of a stream",
    "SETTINGS of a stream",
    "a GET",
    "no type",
    "another type",
    "two paths",
    "two methods",
    "an unknown field with a colon",
    "a status from a client",
    # grpcio gives a handler the first message, and nobody waits for another.
    "two messages",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_costs_its_breaker_alone(target: Target, name: str) -> None:
    for _ in range(2):
        with Http2(target.grpc_port) as good, Http2(target.grpc_port, seconds=1) as bad:
            bad.send(BROKEN[name])
            try:
                outcome = bad.outcome(1)
            except TimeoutError:
                outcome = "nothing"
            assert outcome != "answered 0" or name in ALLOWED, outcome
            # Whatever became of the other, this connection and the next are served.
            good.send(good.call(1))
            assert good.outcome(1) == "answered 0"


@pytest.mark.parametrize(
    "preface",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: server\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        PREFACE + frame(DATA, 0, 1, b"x"),
        PREFACE[:10],
        b"\x00" * 200,
    ],
)
def test_what_is_not_http2_is_let_go(target: Target, preface: bytes) -> None:
    with Http2(target.grpc_port, preface=preface) as bad, Http2(target.grpc_port) as good:
        bad.socket.shutdown(1)
        assert bad.outcome(1).startswith("closed")
        good.send(good.call(1))
        assert good.outcome(1) == "answered 0"


GOOD = {
    "a frame for each byte": OPEN
    + b"".join(frame(DATA, 0, 1, BODY[at : at + 1]) for at in range(len(BODY)))
    + frame(DATA, END_STREAM, 1),
    "empty frames in between": OPEN + frame(DATA, 0, 1) * 20 + frame(DATA, END_STREAM, 1, BODY),
    "fields in many frames": frame(HEADERS, 0, 1, block()[:1])
    + b"".join(frame(CONTINUATION, 0, 1, block()[at : at + 10]) for at in range(1, len(block()), 10))
    + frame(CONTINUATION, END_HEADERS, 1)
    + frame(DATA, END_STREAM, 1, BODY),
    "a priority": frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\x00\x00\x00\x00\x10" + block())
    + frame(DATA, END_STREAM, 1, BODY),
    "a kind of frame that nobody knows": frame(0xBA, 0xFF, 0, b"x" * 100) + frame(0xBA, 0, 9, b"x") + ENDED,
    "a setting that nobody knows": settings((0xBABA, 7)) + ENDED,
    "a ping": frame(PING, 0, 0, b"12345678") + ENDED,
    "a stream that begins high": frame(HEADERS, END_HEADERS, 1, block()) + frame(DATA, END_STREAM, 1, BODY),
    "metadata": frame(HEADERS, END_HEADERS, 1, block({f"x-{number}": "y" * 50 for number in range(40)}))
    + frame(DATA, END_STREAM, 1, BODY),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed_is_answered(target: Target, name: str) -> None:
    for _ in range(2):
        with Http2(target.grpc_port) as client:
            client.send(GOOD[name])
            assert client.outcome(1) == "answered 0"
            client.send(client.call(3))
            assert client.outcome(3) == "answered 0"


def test_padding_is_answered_or_refused_and_nobody_else_notices(target: Target) -> None:
    # RFC 9113 allows it. grpcio takes none, and no gRPC client is known to send any.
    padded = frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05" + block() + bytes(5))
    padded += frame(DATA, END_STREAM | PADDED, 1, b"\x05" + BODY + bytes(5))
    with Http2(target.grpc_port) as good, Http2(target.grpc_port) as client:
        client.send(padded)
        assert client.outcome(1).split()[0] in ("answered", "reset", "closed")
        good.send(good.call(1))
        assert good.outcome(1) == "answered 0"
