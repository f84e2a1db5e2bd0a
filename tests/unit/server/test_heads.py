"""Heads that were read before: whatever they are, the answer is that of a server that never saw them."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgemodel_server.http.connection import Connection
from edgemodel_server.http.heads import MOST_BYTES, MOST_HEADS, Heads
from edgemodel_server.http.shared import Shared
from edgemodel_server.http.wire import Request
from tests.unit.server.test_http_service import app, at_once

STARTS = [
    b"POST /headers HTTP/1.1",
    b"POST /quick HTTP/1.1",
    b"POST /quick HTTP/1.0",
    b"PUT http://a/b?c HTTP/1.1",
    b"GET /headers?a=b HTTP/1.1",
    b"HEAD /quick HTTP/1.1",
    b"CONNECT a:80 HTTP/1.1",
    b"\r\nPOST /quick HTTP/1.1",
    b"\r\n\r\nPOST /quick HTTP/1.1",
    b"POST /quick HTTP/1.1\n",
    b"POST /quick",
]
LINES = [
    b"Content-Length: 3",
    b"content-length:3 ",
    b"Content-Length: 0",
    b"Content-Length: +3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: Upgrade",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"X-Folded: a\r\n b",
    b"X-Empty:",
    b"X-Latin: \xe9",
    b"X-Bad: \x00",
    b"X Bad: a",
    b"X-Long: " + b"a" * MOST_BYTES,
]
BODIES = [b"", b"a", b"abc", b"xyz", b"\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"abcGET /quick HTTP/1.1\r\n\r\n"]
PROBE = b"GET /headers HTTP/1.1\r\n\r\n"


class Forgetful(Heads):
    """Learns nothing."""

    def learn(self, content: bytearray, count: int, request: Request, body: bytes | bytearray) -> None:
        """Forget it."""


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[bytes] = []
        self.paused = self.closing = False

    def write(self, data: Any) -> None:
        self.events.append(bytes(data))

    def write_eof(self) -> None:
        self.events.append(b"<eof>")

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closing:
            self.events.append(b"<close>")
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def answers(heads: Heads, head: bytes, bodies: list[bytes]) -> list[list[bytes]]:
    """What is sent for the head with each of the bodies, twice each, and for what comes after that."""
    found: list[list[bytes]] = []
    for body in bodies:
        shared = Shared(app, at_once, heads=heads)
        connection, wire = Connection(shared), Wire()
        connection.connection_made(wire)
        for content in (head + body, head + body, PROBE):
            while content and not wire.paused and not wire.closing:
                place = connection.get_buffer(-1)
                count = min(len(place), len(content))
                place[:count] = content[:count]
                content = content[count:]
                connection.buffer_updated(count)
                for _ in range(10):
                    await asyncio.sleep(0)
        found.append(wire.events)
        connection.connection_lost(None)
        await asyncio.gather(*shared.tasks, return_exceptions=True)
    return found


@settings(deadline=None)
@given(
    start=st.sampled_from(STARTS),
    lines=st.lists(st.sampled_from(LINES), max_size=4),
    bodies=st.lists(st.sampled_from(BODIES), min_size=1, max_size=3),
)
@example(start=b"POST /quick HTTP/1.1", lines=[b"Content-Length: 3"], bodies=[b"abc", b"xyz", b"a"])
@example(start=b"POST /pieces HTTP/1.1", lines=[b"Content-Length: 3"], bodies=[b"a", b"abc", BODIES[-1]])
@example(start=b"POST /into/1 HTTP/1.1", lines=[b"Content-Length: 3"], bodies=[b"a", b"abc", b""])
@example(start=b"GET /headers HTTP/1.1", lines=[], bodies=[b"", b"abc", BODIES[-1]])
async def test_a_head_that_was_read_before_is_read_in_the_same_way(
    start: bytes, lines: list[bytes], bodies: list[bytes]
) -> None:
    head = b"\r\n".join([start, *lines, b"", b""])
    assert await answers(Heads(), head, bodies) == await answers(Forgetful(), head, bodies)


@pytest.mark.parametrize(
    ("lines", "body", "count"),
    [
        ([b"Content-Length: 3"], b"abc", 1),
        ([b"Content-Length: 3"], b"a", 1),
        ([], b"", 1),
        ([b"Content-Length: 3"], b"abcd", 0),
        ([b"Content-Length: 3", b"X-Long: " + b"a" * MOST_BYTES], b"abc", 0),
        ([b"Content-Length: 3", b"Upgrade: h2c"], b"abc", 0),
        ([b"Transfer-Encoding: chunked"], b"0\r\n\r\n", 0),
    ],
)
async def test_only_heads_that_alone_decide_are_learnt(lines: list[bytes], body: bytes, count: int) -> None:
    heads = Heads()
    await answers(heads, b"\r\n".join([b"POST /quick HTTP/1.1", *lines, b"", b""]), [body])
    # With that of the probe, which is read where the request before it is whole.
    assert len(heads) - (heads.find(bytearray(PROBE), len(PROBE)) is not None) == count


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    heads = Heads()
    for number in range(MOST_HEADS + 1):
        head = b"GET /%d HTTP/1.1\r\n\r\n" % number
        heads.learn(bytearray(head), len(head), Request(b"GET", "/", b"", b"/", [], "1.1", keep_alive=True), b"")
        assert heads.find(bytearray(head), len(head)) is not None
    assert len(heads) == 1
