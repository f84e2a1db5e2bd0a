"""Random connections against the inference server: valid exchanges over HTTP/1.1 and gRPC, damaged a little.

No connection may be answered with a 500, with something that is no answer, or in another form than the server's; none
may stay open when its client has said all, and between them good requests are answered as ever. ``make fuzz-server``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.abuse.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    Http2,
    block,
    frame,
    message,
    settings,
)
from tests.abuse.messages import infer_message
from tests.abuse.server import Target, serving
from tests.abuse.wire import NoAnswer, Silence, Wire, get, infer, infer_body
from tests.fuzz.bodies import damaged
from tests.unit.server.builders import mlp, write_folder

MIB = 2**20
GROWTH = 64 * MIB
"""Bytes that resident memory may be larger at the end than after the first tenth."""
SERVER_FAULTS = {500, 502}
GRPC_FAULTS = {"2"}
"""UNKNOWN, an exception of the server. INTERNAL is what gRPC asks for where the bytes of a message are damaged."""
SECONDS = 20.0
"""A connection whose client has said all ends sooner."""

_CHUNKED = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n"
_BODY = infer_body("own")
_HTTP = (
    get("/v2"),
    get("/v2/models/digits", "Accept-Encoding: gzip"),
    infer("one"),
    infer("one") + infer("two") + get("/v2/health/live"),
    infer("upgrade", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    infer("expect", "Expect: 100-continue"),
    _CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX-Trailer: a\r\n\r\n" % (len(_BODY), _BODY),
    b"HEAD /v2 HTTP/1.1\r\nHost: server\r\n\r\n",
    get("/v2").replace(b"HTTP/1.1", b"HTTP/1.0"),
)
_CALL = frame(HEADERS, END_HEADERS, 1, block()) + frame(DATA, END_STREAM, 1, message(infer_message("one")))
_GRPC = (
    settings((4, 65_535)) + _CALL,
    settings() + frame(4, 1) + frame(PING, 0, 0, bytes(8)) + _CALL,
    settings()
    + frame(HEADERS, END_HEADERS, 1, block())
    + frame(8, 0, 1, b"\x00\x00\x10\x00")
    + frame(3, 0, 1, bytes(4)),
    settings() + _CALL + frame(HEADERS, END_HEADERS | END_STREAM, 3, block({":path": "/inference.X/Y"})),
    settings() + frame(HEADERS, 0, 1, block()[:20]) + frame(9, END_HEADERS, 1, block()[20:]) + frame(DATA, 1, 1, b""),
)


def http_connection(target: Target, random: Random) -> str:
    """What became of one connection over HTTP/1.1. Raises AssertionError where it must not be so."""
    chosen = random.choice(_HTTP)
    content = damaged(chosen, random)
    statuses: list[int] = []
    with Wire(target.port, SECONDS) as wire:
        wire.send(content)
        wire.finish_sending()
        try:
            while len(statuses) < 30:
                head = b"HEAD" in content[:4]
                answer = wire.answer(head=head)
                assert answer.status not in SERVER_FAULTS, f"{answer} to {content!r}"
                assert answer.status < 400 or head or answer.error, f"{answer} to {content!r}"
                statuses.append(answer.status)
                if head:
                    # What else the damage made of it, and whether that has bodies, is not followed.
                    break
        except NoAnswer:
            pass
        except Silence as error:
            raise AssertionError(f"neither answered nor closed ({error}): {content!r}") from error
        except AssertionError as error:
            raise AssertionError(f"{error} to {content!r}") from error
    return f"HTTP {statuses[0] if statuses else 'closed'}"


def grpc_connection(target: Target, random: Random) -> str:
    """What became of one connection over gRPC. Raises AssertionError where it must not be so."""
    content = damaged(random.choice(_GRPC), random)
    with Http2(target.grpc_port, preface=PREFACE + content, seconds=SECONDS) as client:
        client.finish_sending()
        try:
            outcome = client.outcome(1)
        except TimeoutError as error:
            raise AssertionError(f"neither answered nor closed: {content!r}") from error
    kind, _, code = outcome.partition(" ")
    assert kind != "answered" or code not in GRPC_FAULTS, f"status {code} to {content!r}"
    return f"gRPC {outcome}"


def fuzz(target: Target, count: int, random: Random) -> Counter[str]:
    """``count`` connections of each kind, and what became of how many."""
    outcomes: Counter[str] = Counter()
    before = target.memory()
    for number in range(count):
        outcomes[http_connection(target, random)] += 1
        outcomes[grpc_connection(target, random)] += 1
        if number % 100 == 0:
            check(target)
        if number == count // 10:
            before = target.memory()
    check(target)
    grown = target.memory() - before
    assert grown <= GROWTH, f"memory grew by {grown / MIB:.0f} MiB"
    faults = [line for line in target.news() if "Traceback" in line]
    assert not faults, faults[0][:3000]
    assert target.settles(lambda: target.descriptors() < 100), "connections stay open"
    return outcomes


def check(target: Target) -> None:
    """Good requests are answered."""
    with Wire(target.port) as wire:
        wire.send(infer("good"))
        assert wire.answer().id == "good"
    with Http2(target.grpc_port) as client:
        client.send(client.call(1))
        assert client.outcome(1) == "answered 0"


def main() -> None:
    """Run, and print what became of the connections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=50_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(write_folder(folder / "model", mlp()), folder / "log") as target:
            started = time.monotonic()
            outcomes = fuzz(target, options.connections, Random(options.seed))  # noqa: S311
            summary = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(outcomes.items()))
            seconds = time.monotonic() - started
            print(f"{options.connections} connections of each kind in {seconds:.0f} s; {summary}")


if __name__ == "__main__":
    main()
