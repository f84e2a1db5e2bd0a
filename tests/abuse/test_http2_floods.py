"""The gRPC port and clients who keep to the rules, or nearly, but without measure."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.abuse.conftest import Special
from tests.abuse.crowd import crowd
from tests.abuse.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_HEADER_LIST_SIZE,
    PING,
    PREFACE,
    PRIORITY,
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
from tests.abuse.models import widening
from tests.abuse.watch import MIB, Watch

OPEN_STREAMS = 100
ONE = b"\x00\x00\x00\x01"
CANCEL = b"\x00\x00\x00\x08"


def opened(count: int = OPEN_STREAMS) -> bytes:
    """Streams whose requests do not end."""
    return b"".join(frame(HEADERS, END_HEADERS, 2 * number + 1, block()) for number in range(count))


def resets(count: int, last: bytes) -> bytes:
    """Streams that end at once: CVE-2023-44487, and with what makes the server reset them CVE-2025-8671."""
    return b"".join(
        frame(HEADERS, END_HEADERS, 2 * number + 1, block()) + frame(last[0], 0, 2 * number + 1, last[1:])
        for number in range(count)
    )


def endless(piece: bytes) -> Iterator[bytes]:
    """``piece`` again and again, in large parts."""
    part = piece * max(1, 200_000 // len(piece))
    while True:
        yield part


def streams(make: Callable[[int], bytes]) -> Iterator[bytes]:
    """``make`` of stream 1, 3, 5…, many at a time."""
    number = 1
    while number < 2**30:
        yield b"".join(make(stream) for stream in range(number, number + 400, 2))
        number += 400


def headers_frame(stream: int, fields: bytes = block()) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, fields)


TABLE = block_of([(f"x-{number}", "v" * 60) for number in range(40)])
# A block that stores a long field once, and then names it again and again by one byte.
_INDEXED = b"\x40\x01a\x7f\x81\x1e" + b"b" * 4000
BOMB = _INDEXED[:4] + b"\x7f" + bytes((0xA1, 0x1E)) + b"b" * 4000

# Small fields, stored once and named by a byte each: they count little and take more (CVE-2026-49975).
CRUMBS = (
    b"\x40\x01x\x01y" + b"\xbe" * 4000,
    b"\x40\x06cookie\x01y" + b"\xbe" * 4000,
    b"\x40\x01x\x81\xf3" + b"\xbe" * 4000,
)

FLOODS: dict[str, tuple[bytes, Callable[[], Iterator[bytes]]]] = {
    "settings that change the window of many streams": (
        opened(),
        lambda: endless(settings((INITIAL_WINDOW_SIZE, 1)) + settings((INITIAL_WINDOW_SIZE, 65_535))),
    ),
    "settings of one frame that change the window again and again": (
        opened(),
        lambda: endless(settings(*[(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 65_535)] * 1000)),
    ),
    "empty settings": (b"", lambda: endless(settings())),
    "settings that change the table": (
        b"",
        lambda: endless(settings((HEADER_TABLE_SIZE, 0)) + settings((HEADER_TABLE_SIZE, 65_536))),
    ),
    "pings": (b"", lambda: endless(frame(PING, 0, 0, b"12345678"))),
    "window updates of the connection": (b"", lambda: endless(frame(WINDOW_UPDATE, 0, 0, ONE))),
    "window updates of a stream": (opened(1), lambda: endless(frame(WINDOW_UPDATE, 0, 1, ONE))),
    "window updates of many streams": (
        opened(),
        lambda: endless(b"".join(frame(WINDOW_UPDATE, 0, 2 * number + 1, ONE) for number in range(OPEN_STREAMS))),
    ),
    "window updates of streams that ended": (
        resets(OPEN_STREAMS, bytes((RST_STREAM,)) + CANCEL),
        lambda: endless(b"".join(frame(WINDOW_UPDATE, 0, 2 * number + 1, ONE) for number in range(OPEN_STREAMS))),
    ),
    "priorities": (b"", lambda: endless(frame(PRIORITY, 0, 1, b"\x00\x00\x00\x00\x10"))),
    "priorities of many streams": (
        b"",
        lambda: streams(lambda stream: frame(PRIORITY, 0, stream, b"\x00\x00\x00\x00\x10")),
    ),
    "empty data": (opened(1), lambda: endless(frame(DATA, 0, 1))),
    "padded data that is empty": (opened(1), lambda: endless(frame(DATA, 8, 1, b"\xff" + bytes(255)))),
    "frames of an unknown kind": (b"", lambda: endless(frame(0xBA, 0, 0, b"x" * 50))),
    "streams that the client resets": (
        b"",
        lambda: streams(lambda stream: headers_frame(stream) + frame(RST_STREAM, 0, stream, CANCEL)),
    ),
    "streams with a request that the client resets": (
        b"",
        lambda: streams(
            lambda stream: (
                headers_frame(stream)
                + frame(DATA, END_STREAM, stream, message(infer_message("reset")))
                + frame(RST_STREAM, 0, stream, CANCEL)
            )
        ),
    ),
    "streams that the server resets, for a window update of nothing": (
        b"",
        lambda: streams(lambda stream: headers_frame(stream) + frame(WINDOW_UPDATE, 0, stream, bytes(4))),
    ),
    "streams that the server resets, for too large a window": (
        b"",
        lambda: streams(lambda stream: headers_frame(stream) + frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff")),
    ),
    "streams that the server resets, for data after their end": (
        b"",
        lambda: streams(
            lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block()) + frame(DATA, 0, stream, b"x")
        ),
    ),
    "streams that the server resets, for fields that are missing": (
        b"",
        lambda: streams(lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block_of([("a", "b")]))),
    ),
    "streams beyond what is allowed": (b"", lambda: streams(headers_frame)),
    "calls of what is not there": (
        b"",
        lambda: streams(
            lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, block({":path": "/nobody/Serves"}))
        ),
    ),
    "continuations without end": (
        frame(HEADERS, 0, 1, block()),
        lambda: endless(frame(CONTINUATION, 0, 1, TABLE)),
    ),
    "continuations that are empty": (frame(HEADERS, 0, 1, block()), lambda: endless(frame(CONTINUATION, 0, 1))),
    "fields that are named by a byte": (
        b"",
        lambda: streams(lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, BOMB + b"\xbe" * 4000)),
    ),
    "fields without a name": (
        b"",
        lambda: streams(lambda stream: frame(HEADERS, END_HEADERS, stream, block() + b"\x00\x00\x00" * 1000)),
    ),
    "binary metadata that is none": (
        b"",
        lambda: streams(
            lambda stream: (
                headers_frame(stream, block({"x-bin": "=" * 100 + "%" * 3000}))
                + frame(DATA, END_STREAM, stream, message(infer_message("binary")))
            )
        ),
    ),
    "tables that change size": (
        b"",
        lambda: streams(
            lambda stream: frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\x20\x3f\xe1\x1f" * 500 + block())
        ),
    ),
    "metadata of sixteen kilobytes": (
        b"",
        lambda: streams(
            lambda stream: (
                frame(HEADERS, 0, stream, block({"x-large": "a" * 8000}))
                + frame(CONTINUATION, END_HEADERS, stream, block_of([("y-large", "b" * 8000)]))
            )
        ),
    ),
    "nothing but noise": (b"", lambda: iter(lambda: random.Random(0).randbytes(100_000), b"")),  # noqa: S311
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood(watch: Watch, name: str, long: bool) -> None:
    first, pieces = FLOODS[name]
    seconds = 20.0 if long else 0.7
    with watch.attack():
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with Http2(watch.target.grpc_port, seconds=2.0) as client:
                client.acknowledge()
                client.send(first)
                flood(client, pieces(), deadline)


def flood(client: Http2, pieces: Iterator[bytes], deadline: float) -> None:
    """Send until ``deadline``, or until the server has enough of this connection; read what it says in between."""
    client.socket.settimeout(0.5)
    for piece in pieces:
        if time.monotonic() > deadline or not client.send(piece):
            return
        client.socket.setblocking(False)
        try:
            if client.socket.recv(1 << 20) == b"":
                return
        except BlockingIOError:
            pass
        except OSError:
            return
        client.socket.settimeout(0.5)


UNREAD = ["pings", "empty settings", "settings that change the table", "calls of what is not there"]


@pytest.mark.parametrize("name", UNREAD)
def test_flood_of_a_client_that_does_not_read(watch: Watch, name: str, long: bool) -> None:
    first, pieces = FLOODS[name]
    with watch.attack(), Http2(watch.target.grpc_port, seconds=1.0) as client:
        client.send(first)
        deadline = time.monotonic() + (20 if long else 2)
        for piece in pieces():
            if time.monotonic() > deadline or not client.send(piece):
                break


def test_a_connection_with_large_metadata_does_not_end_the_calls_of_others(watch: Watch) -> None:
    with watch.attack(), Http2(watch.target.grpc_port) as client:
        large = block_of([*CALL.items(), *((f"x-{number}", "v" * 1000) for number in range(17))])
        parts = [large[at : at + 16_000] for at in range(0, len(large), 16_000)]
        frames = [frame(HEADERS, 0, 1, parts[0]), *(frame(CONTINUATION, 0, 1, part) for part in parts[1:])]
        client.send(b"".join(frames) + frame(CONTINUATION, END_HEADERS, 1) + frame(DATA, END_STREAM, 1, b""))
        # The call is refused; the one after it on the connection, which a proxy may share among users, is not.
        assert client.outcome(1) != "answered 0"
        client.send(client.call(3))
        assert client.outcome(3) == "answered 0"


def test_readers_whose_window_is_closed_hold_little(special: Special, long: bool) -> None:
    size, buffered = 16 * MIB, 64 * MIB
    settings_of = {"EDGEMODEL_MAX_BUFFERED": str(buffered)}
    # FP32 rows of one column in, of four mebi columns out.
    tensor = b"\x0a\x01x\x12\x04FP32\x18\x01\x18\x01"
    row = b"\x0a\x06digits\x2a" + bytes((len(tensor),)) + tensor + b"\x3a\x04\x00\x00\x80\x3f"
    with special(widening(size // 4), "other", **settings_of) as watch:
        with watch.attack(memory=buffered + 2 * size), ExitStack() as stack:
            for _ in range(8 if long else 4):
                reader = stack.enter_context(Http2(watch.target.grpc_port, (INITIAL_WINDOW_SIZE, 0)))
                for stream in range(1, 41, 2):
                    reader.send(headers_frame(stream) + frame(DATA, END_STREAM, stream, message(row)))
            time.sleep(20 if long else 6)
            if long:
                assert watch.target.settles(lambda: watch.target.memory() < watch.idle + 64 * MIB, 300)
        assert watch.target.settles(lambda: watch.target.memory() < watch.idle + 64 * MIB)


@pytest.mark.parametrize("crumbs", CRUMBS, ids=["of one name", "of cookies", "of one name, in Huffman's code"])
def test_calls_of_very_many_small_fields_hold_little(watch: Watch, crumbs: bytes) -> None:
    with watch.attack(), ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(Http2(watch.target.grpc_port, (INITIAL_WINDOW_SIZE, 0), seconds=0.5))
            # What metadata may count is one of the settings.
            client.acknowledge()
            for stream in range(1, 61, 2):
                if not client.send(frame(HEADERS, END_HEADERS, stream, block() + crumbs)):
                    break
        time.sleep(1)


def test_answers_that_are_taken_byte_by_byte_hold_nobody_up(watch: Watch, long: bool) -> None:
    with watch.attack(), Http2(watch.target.grpc_port, (INITIAL_WINDOW_SIZE, 1)) as client:
        deadline = time.monotonic() + (20 if long else 1)
        client.send(b"".join(client.call(stream) for stream in range(1, 61, 2)))
        client.socket.settimeout(0.5)
        flood(client, endless(b"".join(frame(WINDOW_UPDATE, 0, stream, ONE) for stream in range(1, 61, 2))), deadline)


def test_bodies_that_do_not_end_hold_little(watch: Watch, long: bool) -> None:
    with watch.attack(memory=128 * MIB), ExitStack() as stack:
        for _ in range(20 if long else 6):
            client = stack.enter_context(Http2(watch.target.grpc_port, seconds=0.5))
            for stream in range(1, 60, 2):
                if not client.send(
                    headers_frame(stream)
                    + frame(DATA, 0, stream, b"\x00\x01\xff\xff\xff" + bytes(16_000))
                    + frame(DATA, 0, stream, bytes(16_000)) * 3
                ):
                    break
        time.sleep(2)


@pytest.mark.parametrize(
    ("count", "content"),
    [
        (1000, b""),
        (1000, PREFACE[:7]),
        (1000, PREFACE),
        (1000, PREFACE + settings()),
        (300, PREFACE + settings() + opened(1)),
        (50, PREFACE + settings() + frame(SETTINGS, ACK) + opened(100)),
    ],
)
def test_idle_connections(watch: Watch, count: int, content: bytes) -> None:
    with watch.attack():
        with crowd(watch.target.grpc_port) as idle:
            idle.join(count, content)
            idle.read(1)
        # Calls whose connections have gone are as idle.
        assert watch.target.settles(lambda: watch.target.descriptors() < 500)


def test_more_calls_at_once_than_may_wait_stop_neither_rest_nor_probes(watch: Watch) -> None:
    # A client that does not acknowledge the settings is not held to a number of streams. gRPC refuses calls of anybody
    # until these are begun.
    with watch.attack(spared=("REST", "admin")), crowd(watch.target.grpc_port) as idle:
        idle.join(60, PREFACE + settings() + opened(100))
        idle.read(1)


def test_large_header_lists_that_are_announced(watch: Watch) -> None:
    with (
        watch.attack(),
        Http2(watch.target.grpc_port, (MAX_HEADER_LIST_SIZE, 0), (HEADER_TABLE_SIZE, 2**32 - 1)) as client,
    ):
        client.send(client.call(1))
        # With no room for any field in the answer the stream may as well be reset.
        assert client.outcome(1).split()[0] in ("answered", "reset")
