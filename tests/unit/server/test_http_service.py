"""HTTP connections, with an application that tells what it was sent: every way to take a body, and every way to end."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from edgemodel_server.http.server import Server, listen
from edgemodel_server.http.wire import CLOSE, Request
from edgemodel_server.protocol.calls import READ_INTO, Answer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LARGE = 20 * 2**20


def told(method: str, path: str, body: bytes) -> bytes:
    return f"{method} {path} {len(body)} {zlib.crc32(body)}".encode()


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """What it does is in the path."""
    body = bytearray()
    method, path = scope["method"], scope["path"]
    length = dict(scope["headers"]).get(b"content-length")
    match path.removeprefix("/").split("/"):
        case ["into", parts] if length is not None:
            body = bytearray(int(length))
            view, size = memoryview(body), -(-len(body) // int(parts)) or 1
            for begin in range(0, len(body), size):
                await scope["extensions"][READ_INTO](view[begin : begin + size])
        case ["unread"]:
            pass
        case ["headers"]:
            told_headers = repr((method, scope["raw_path"], scope["query_string"], scope["headers"]))
            return await answer(send, told_headers.encode())
        case ["close"]:
            return await answer(send, b"closing", CLOSE)
        case ["first"]:
            await receive()
            return await answer(send, b"first")
        case ["fails"]:
            raise RuntimeError("as asked")
        case ["leaves"]:
            return None
        case ["splits"]:
            return await answer(send, b"", (b"x-name", b"a\r\nx-other: b"))
        case ["breaks"]:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
            raise RuntimeError("as asked")
        case ["waits"]:
            while (await receive())["type"] != "http.disconnect":
                pass
            return None
        case _:
            more = True
            while more:
                message = await receive()
                body += message["body"]
                more = message["more_body"]
    return await answer(send, told(method, path, bytes(body)))


def try_inline(request: Request, body: bytes, _: str) -> Answer | None:
    if request.path != "/quick":
        return None
    return Answer(200, [told(request.method.decode(), request.path, body)])


@dataclass
class Client:
    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length: ")[2].split(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def ask(self, *lines: str) -> tuple[int, bytes]:
        """A request without a body, and its answer."""
        hosts = [] if any(line.lower().startswith("host:") for line in lines) else ["Host: server"]
        self.writer.write("\r\n".join([*lines, *hosts, "", ""]).encode())
        return await self.answer()

    async def is_closed(self) -> bool:
        """By the server, with nothing left to read."""
        return await self.reader.read() == b""


@asynccontextmanager
async def connected(application: Any = app) -> AsyncIterator[Client]:
    listener = listen(("127.0.0.1", 0))
    server = Server(application, None, try_inline)
    await server.start(listener)
    reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
    try:
        async with asyncio.timeout(30):
            yield Client(server, reader, writer)
    finally:
        writer.close()
        await server.close(0.0)


def on(loop: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` on an event loop of this kind."""

    async def main() -> None:
        await work()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    return lambda work: on(request.param, work)


Run = Callable[[Callable[[], Awaitable[None]]], None]


@dataclass(frozen=True)
class Sent:
    path: str
    size: int
    chunk: int
    """Bytes of a chunk; 0: the body has a length."""

    @property
    def body(self) -> bytes:
        return bytes(range(256)) * (self.size // 256) + b"x" * (self.size % 256)

    @property
    def content(self) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: server\r\n"
        if not self.chunk:
            return f"{head}Content-Length: {self.size}\r\n\r\n".encode() + self.body
        chunks = [self.body[at : at + self.chunk] for at in range(0, self.size, self.chunk)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"

    @property
    def answer(self) -> bytes:
        if self.path == "/first":
            return b"first"
        return told("POST", self.path, b"" if self.path == "/unread" else self.body)


SIZES = st.sampled_from([0, 1, 100, 65_536, 70_000, 200_000])
SENT = st.builds(
    Sent, st.sampled_from(["/quick", "/pieces", "/into/1", "/into/3", "/unread", "/first"]), SIZES, st.just(0)
) | st.builds(Sent, st.sampled_from(["/quick", "/pieces", "/unread", "/first"]), SIZES, st.sampled_from([7, 50_000]))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(SENT, min_size=1, max_size=6), cuts=st.lists(st.floats(0, 1), max_size=8))
@example(sent=[Sent("/into/3", 200_000, 0), Sent("/quick", 1, 0)], cuts=[])
@example(sent=[Sent("/unread", 200_000, 0)] * 3, cuts=[0.1, 0.5, 0.9])
@pytest.mark.parametrize("loop", LOOPS)
def test_however_the_bytes_are_cut_every_request_has_its_answer(loop: str, sent: list[Sent], cuts: list[float]) -> None:
    content = b"".join(request.content for request in sent)
    places = sorted({0, len(content), *(round(cut * len(content)) for cut in cuts)})

    async def work() -> None:
        async with connected() as client:

            async def send() -> None:
                for begin, end in pairwise(places):
                    client.writer.write(content[begin:end])
                    await client.writer.drain()
                    await asyncio.sleep(0)

            sending = asyncio.create_task(send())
            for request in sent:
                assert await client.answer() == (200, request.answer)
            await sending

    on(loop, work)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(SENT, min_size=1, max_size=3), cut=st.floats(0, 1))
@example(sent=[Sent("/pieces", 200_000, 0), Sent("/into/3", 200_000, 0), Sent("/unread", 200_000, 0)], cut=0.5)
@example(sent=[Sent("/first", 70_000, 0), Sent("/quick", 100, 0), Sent("/pieces", 0, 0)], cut=0.99)
@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_client_sends_again_is_answered_again(loop: str, sent: list[Sent], cut: float) -> None:
    async def work() -> None:
        async with connected() as client:
            for request in sent * 3:
                content = request.content
                client.writer.write(content[: round(cut * len(content))])
                await client.writer.drain()
                await asyncio.sleep(0)
                client.writer.write(content[round(cut * len(content)) :])
                assert await client.answer() == (200, request.answer)

    on(loop, work)


def test_a_head_has_no_body_and_http_1_0_no_second_request(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            client.writer.write(b"HEAD /pieces HTTP/1.1\r\nHost: server\r\n\r\n")
            assert b"content-length: 16\r\n" in await client.reader.readuntil(b"\r\n\r\n")
            assert await client.ask("GET /pieces HTTP/1.0") == (200, told("GET", "/pieces", b""))
            assert await client.is_closed()

    run(work)


@pytest.mark.parametrize("path", ["/pieces", "/quick"])
def test_a_client_that_asks_for_it_gets_its_connection_closed(run: Run, path: str) -> None:
    async def work() -> None:
        async with connected() as client:
            status, _ = await client.ask(f"GET {path} HTTP/1.1", "Connection: close")
            assert status == 200
            assert await client.is_closed()

    run(work)


def test_a_client_that_waits_for_permission_is_told_to_go_on_if_its_body_is_wanted(run: Run) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: server\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"

    async def work() -> None:
        for path in (b"/pieces", b"/into/1"):
            async with connected() as client:
                client.writer.write(head % path)
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                client.writer.write(b"abc")
                assert await client.answer() == (200, told("POST", path.decode(), b"abc"))
        async with connected() as client:
            client.writer.write(head % b"/unread")
            assert (await client.answer())[0] == 200

    run(work)


def test_an_answer_reaches_a_client_that_is_still_sending_when_the_connection_ends(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            client.writer.write(b"POST /close HTTP/1.1\r\nHost: server\r\nContent-Length: %d\r\n\r\n" % LARGE)
            sending = asyncio.create_task(_send(client.writer, LARGE))
            assert await client.answer() == (200, b"closing")
            assert await client.is_closed()
            await sending

    run(work)


async def _send(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(0, size, 2**16):
        writer.write(b" " * 2**16)
        await writer.drain()


def test_what_is_no_http_is_refused_after_what_was_asked_before(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            client.writer.write(b"GET /pieces HTTP/1.1\r\nHost: server\r\n\r\nnonsense\r\n\r\n")
            assert await client.answer() == (200, told("GET", "/pieces", b""))
            assert (await client.answer())[0] == 400
            assert await client.is_closed()
        async with connected() as client:
            assert (await client.ask("CONNECT server:80 HTTP/1.1", "Host: server"))[0] == 400

    run(work)


@pytest.mark.parametrize("path", ["/pieces", "/unread", "/quick"])
@pytest.mark.parametrize(
    "rest",
    [
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\n",
    ],
)
def test_a_body_that_has_no_clear_end_is_refused(run: Run, path: str, rest: bytes) -> None:
    async def work() -> None:
        async with connected() as client:
            client.writer.write(f"POST {path} HTTP/1.1\r\nHost: server\r\n".encode() + rest)
            assert (await client.answer())[0] == 400
            assert await client.is_closed()

    run(work)


def test_other_protocols_are_not_changed_to(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
            assert (await client.ask("GET /pieces HTTP/1.1", *upgrade))[0] == 200
            for sent in (Sent("/pieces", 100, 0), Sent("/quick", 100, 7), Sent("/into/3", 200_000, 0)):
                line, _, rest = sent.content.partition(b"\r\n")
                client.writer.write(b"\r\n".join([line, *(header.encode() for header in upgrade), rest]))
                assert await client.answer() == (200, sent.answer)
            assert (await client.ask("GET /pieces HTTP/1.1"))[0] == 200

    run(work)


@pytest.mark.parametrize("path", ["/fails", "/leaves", "/splits"])
def test_an_application_that_fails_is_a_500_and_the_next_request_is_served(run: Run, path: str) -> None:
    async def work() -> None:
        async with connected() as client:
            status, body = await client.ask(f"GET {path} HTTP/1.1")
            assert (status, body[:10]) == (500, b'{"error":"')
            assert (await client.ask("GET /pieces HTTP/1.1"))[0] == 200

    run(work)


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.ask("GET /breaks HTTP/1.1")

    run(work)


def test_a_client_that_does_not_read_holds_the_application_up_and_no_memory(run: Run) -> None:
    pieces = 0

    async def large(_: Scope, __: Receive, send: Send) -> None:
        nonlocal pieces
        count = 1000
        headers = [(b"content-length", b"%d" % (count * 2**16))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for index in range(count):
            pieces += 1
            await send({"type": "http.response.body", "body": b" " * 2**16, "more_body": index < count - 1})

    async def work() -> None:
        nonlocal pieces
        pieces = 0
        async with connected(large) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            before = -1
            while pieces != before:
                before = pieces
                await asyncio.sleep(0.05)
            assert pieces < 900
            assert len(await client.reader.readexactly(1000 * 2**16)) == 1000 * 2**16

    run(work)


def test_a_client_that_does_not_take_its_answer_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemodel_server.http.answer_writer.WRITE_SECONDS", 0.05)
    monkeypatch.setattr("edgemodel_server.http.answer_writer.SLOWEST_BYTES", 2**30)
    monkeypatch.setattr("edgemodel_server.http.server.SWEEP_SECONDS", 0.02)
    left = asyncio.Event()

    async def large(_: Scope, __: Receive, send: Send) -> None:
        try:
            await answer(send, bytes(LARGE))
        except ClientDisconnect:
            left.set()

    async def work() -> None:
        left.clear()
        async with connected(large) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: server\r\n\r\n")
            await left.wait()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()

    run(work)


def test_a_client_that_sends_nothing_more_still_gets_its_answers(run: Run) -> None:
    released = asyncio.Event()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        await released.wait()
        await app(scope, receive, send)

    async def work() -> None:
        released.clear()
        async with connected(held) as client:
            client.writer.write(Sent("/pieces", 100, 7).content)
            client.writer.write_eof()
            # By this the server finds out whether there is still somebody.
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            released.set()
            assert await client.answer() == (200, Sent("/pieces", 100, 7).answer)
            assert await client.is_closed()
        async with connected() as client:
            client.writer.write(Sent("/pieces", 100, 7).content + Sent("/quick", 1, 0).content)
            client.writer.write_eof()
            assert await client.answer() == (200, Sent("/pieces", 100, 7).answer)
            assert await client.answer() == (200, Sent("/quick", 1, 0).answer)
            assert await client.is_closed()

    run(work)


def test_an_old_client_keeps_its_connection_if_it_asks_for_that(run: Run) -> None:
    async def work() -> None:
        async with connected() as client:
            for path in ("/pieces", "/quick"):
                client.writer.write(f"GET {path} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n".encode())
                assert b"\r\nconnection: keep-alive\r\n" in await client.reader.readuntil(b"\r\n\r\n")
                assert await client.reader.readexactly(len(told("GET", path, b""))) == told("GET", path, b"")

    run(work)


def test_at_the_end_what_is_begun_is_finished_and_what_does_not_end_is_broken_off(run: Run) -> None:
    begun = asyncio.Event()

    async def noticed(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await app(scope, receive, send)

    async def work() -> None:
        begun.clear()
        async with connected(noticed) as client:
            client.writer.write(b"POST /pieces HTTP/1.1\r\nHost: server\r\nContent-Length: 1\r\n\r\n")
            await begun.wait()
            closing = asyncio.create_task(client.server.close(20.0))
            await asyncio.sleep(0)
            client.writer.write(b"x")
            assert (await client.answer())[0] == 200
            assert await client.is_closed()
            await closing
        begun.clear()
        async with connected(noticed) as client:
            client.writer.write(b"GET /waits HTTP/1.1\r\nHost: server\r\n\r\n")
            await begun.wait()
            await client.server.close(0.0)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()

    run(work)
