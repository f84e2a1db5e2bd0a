"""Clients that take their time, in sending and in reading, and those that only come to stay."""

import time

import pytest

from tests.abuse.conftest import Special
from tests.abuse.crowd import crowd
from tests.abuse.models import widening
from tests.abuse.server import descriptors_wanted
from tests.abuse.watch import MIB, Watch
from tests.abuse.wire import INFER, Wire, get, infer, post

MANY = 400


def small_request(rows: int) -> bytes:
    """To ``widening``: as many rows as one wants, each a few bytes that become many."""
    body = b'{"inputs":[{"name":"x","shape":[%d,1],"datatype":"FP32","data":[%b]}],' % (rows, b",".join([b"1"] * rows))
    return post(body + b'"parameters":{"binary_data_output":true}}')


def test_heads_that_come_a_byte_a_time(watch: Watch, long: bool) -> None:
    with watch.attack(), crowd(watch.target.port) as slow:
        slow.join(MANY, b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: server\r\n")
        for _ in range(60 if long else 8):
            slow.send(b"X-a: b\r\n")
            slow.read(0.2)


def test_bodies_that_come_a_byte_a_time(watch: Watch, long: bool) -> None:
    request = infer("slow")
    with watch.attack(), crowd(watch.target.port) as slow:
        slow.join(MANY, request[:-300])
        for at in range(60 if long else 8):
            slow.send(request[len(request) - 300 + at :][:1])
            slow.read(0.2)


def test_chunks_that_come_a_byte_a_time(watch: Watch, long: bool) -> None:
    head = infer("slow").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    with watch.attack(), crowd(watch.target.port) as slow:
        slow.join(MANY, head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(60 if long else 8):
            slow.send(b"1;" + b"x" * 100 + b"\r\n \r\n")
            slow.read(0.2)


def test_a_body_that_does_not_come_is_a_408(special: Special, long: bool) -> None:
    settings = {"EDGEMODEL_BODY_TIMEOUT": "1s"}
    with special(widening(1), "other", **settings) as watch, watch.attack(), Wire(watch.target.port) as wire:
        request = small_request(10)
        wire.send(request[:-20])
        for at in range(10):
            wire.send(request[len(request) - 20 + at :][:1])
            time.sleep(0.2)
        answer = wire.answer()
        assert answer.status == 408
        assert answer.error
        if long:
            assert wire.is_closed()


def test_readers_that_do_not_read_hold_little_and_are_let_go(special: Special, long: bool) -> None:
    size, buffered = 16 * MIB, 64 * MIB
    settings = {"EDGEMODEL_MAX_BUFFERED": str(buffered), "EDGEMODEL_MAX_BODY": str(size)}
    with special(widening(size // 4), "other", **settings) as watch:
        # One answer is being computed, and one encoded, beside those that are held.
        with watch.attack(memory=buffered + 2 * size), crowd(watch.target.port, receive_buffer=4096) as readers:
            readers.join(60 if long else 20, small_request(1))
            time.sleep(20 if long else 5)
            if long:
                assert watch.target.settles(lambda: watch.target.memory() < watch.idle + 64 * MIB, 300)
        assert watch.target.settles(lambda: watch.target.memory() < watch.idle + 64 * MIB)


def test_a_slow_reader_of_many_small_answers_holds_little(watch: Watch) -> None:
    with watch.attack(), crowd(watch.target.port, receive_buffer=4096) as readers:
        readers.join(20)
        for _ in range(200):
            readers.send(get("/metrics") * 20)
            readers.send(infer("much") * 10)
        readers.read(0)


def test_one_connection_that_asks_without_end(watch: Watch, long: bool) -> None:
    with watch.attack(), Wire(watch.target.port) as wire:
        deadline = time.monotonic() + (20 if long else 4)
        wire.socket.settimeout(1)
        while time.monotonic() < deadline:
            try:
                wire.socket.sendall(get("/v2") * 500)
            except TimeoutError:
                break


@pytest.mark.skipif(not descriptors_wanted(12_000), reason="this process may not open 12,000 files (ulimit -n)")
def test_five_thousand_idle_connections(watch: Watch) -> None:
    with watch.attack(), crowd(watch.target.port) as idle:
        idle.join(5000)
        idle.read(2)
        with Wire(watch.target.port) as wire:
            wire.send(infer("after"))
            assert wire.answer().id == "after"
    assert watch.target.settles(lambda: watch.target.descriptors() < 1000)


def test_five_thousand_connections_that_asked_once(watch: Watch) -> None:
    with watch.attack(), crowd(watch.target.port) as idle:
        for _ in range(50):
            idle.join(100, get("/v2/health/live"))
            idle.read(0.02)
        idle.read(30, until=lambda: len(idle.received) == 5000)
        assert set(idle.statuses()) == {200}
