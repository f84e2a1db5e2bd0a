"""Connections used in odd but allowed ways: pipelined, half closed, of HTTP/1.0, broken off."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.abuse.crowd import crowd
from tests.abuse.outcomes import SMUGGLED
from tests.abuse.server import Target, serving
from tests.abuse.wire import INFER, NoAnswer, Wire, get, infer, infer_body, post
from tests.unit.server.builders import mlp, write_folder

pytestmark = pytest.mark.usefixtures("attack")


def test_pipelined_requests_are_answered_in_order(target_port: int) -> None:
    for _ in range(2):
        with Wire(target_port) as wire:
            wire.send(b"".join(infer(str(number)) for number in range(200)))
            assert [wire.answer().id for _ in range(200)] == [str(number) for number in range(200)]


def test_pipelined_requests_of_all_kinds_are_answered_in_order(target_port: int) -> None:
    with Wire(target_port) as wire:
        wire.send(
            get("/v2")
            + infer("first")
            + post(b"{}")
            + get("/nothing")
            + b"HEAD /v2 HTTP/1.1\r\nHost: server\r\n\r\n"
            + infer("second")
            + get("/v2/health/live")
        )
        answers = [wire.answer(head=number == 4) for number in range(7)]
    assert [answer.status for answer in answers] == [200, 200, 400, 404, 200, 200, 200]
    assert (answers[1].id, answers[5].id) == ("first", "second")


def test_what_follows_the_last_request_of_a_connection_is_not_answered(target_port: int) -> None:
    for last in (infer("last", "Connection: close"), infer("last").replace(b"HTTP/1.1", b"HTTP/1.0")):
        with Wire(target_port) as wire:
            wire.send(last + infer(SMUGGLED))
            assert wire.answer().id == "last"
            with pytest.raises(NoAnswer):
                wire.answer()


def test_a_client_that_has_said_all_gets_its_answer(target_port: int) -> None:
    chunked = infer("chunked").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    body = infer_body("chunked")
    chunked += b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for content, identifiers in (
        (get("/v2"), [None]),
        (infer("one"), ["one"]),
        (infer("one") + infer("two") + infer("three"), ["one", "two", "three"]),
        (chunked, ["chunked"]),
    ):
        for _ in range(2):
            with Wire(target_port) as wire:
                wire.send(content)
                wire.finish_sending()
                answers = [wire.answer() for _ in identifiers]
                assert [answer.status for answer in answers] == [200] * len(identifiers)
                assert [answer.id for answer in answers] == identifiers
                assert wire.is_closed()


@pytest.mark.parametrize(
    "part", [b"GET /v2 HTTP/1.1\r\nHo", infer("part")[:-1], post(b"", "Transfer-Encoding: chunked")]
)
def test_a_request_that_ends_in_its_middle_is_never_answered_with_a_result(target_port: int, part: bytes) -> None:
    for _ in range(2):
        with Wire(target_port) as wire:
            wire.send(part)
            wire.finish_sending()
            with suppress(NoAnswer):
                assert wire.answer().status in (400, 408)
            assert wire.is_closed()


def test_old_clients_may_keep_their_connection(target_port: int) -> None:
    old = infer("old", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    with Wire(target_port) as wire:
        for _ in range(3):
            wire.send(old)
            answer = wire.answer()
            assert answer.id == "old"
            assert answer.headers.get("connection", "").lower() == "keep-alive"
            assert "transfer-encoding" not in answer.headers
    with Wire(target_port) as wire:
        wire.send(old.replace(b"Connection: keep-alive\r\n", b""))
        assert wire.answer().id == "old"
        assert wire.is_closed()


def test_a_body_is_asked_for_only_where_it_is_wanted(target_port: int) -> None:
    body = infer_body("asked")
    for start, wanted in ((b"POST " + INFER.encode(), True), (b"POST /v2/models/nothing/infer", False)):
        with Wire(target_port) as wire:
            head = start + b" HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            wire.send(head + b"Content-Length: %d\r\n\r\n" % len(body))
            if wanted:
                assert wire.interim_answer() == 100
                wire.send(body)
                assert wire.answer().id == "asked"
            else:
                assert wire.answer().status == 404
                assert wire.interim == []


def test_answers_to_head_have_no_body(target_port: int) -> None:
    with Wire(target_port) as wire:
        for path in ("/v2", "/v2/models/digits", "/nothing", "/v2/health/live"):
            wire.send(b"HEAD " + path.encode() + b" HTTP/1.1\r\nHost: server\r\n\r\n" + infer(path))
            wire.answer(head=True)
            assert wire.answer().id == path


def test_connections_that_are_broken_off_leave_nothing_behind(target: Target) -> None:
    before = target.descriptors()
    for number in range(300):
        with Wire(target.port) as wire:
            wire.send(infer("gone")[: -number % 200 or None])
            if number % 2:
                wire.reset()
    wires = [Wire(target.port) for _ in range(3)]
    for wire in wires:
        wire.send(get("/v2", "Connection: close"))
        assert wire.answer().status == 200
        wire.close()
    assert target.settles(lambda: target.descriptors() <= before + 5)


def test_many_requests_at_once_right_after_the_start_are_all_served(tmp_path: Path) -> None:
    # None has been measured yet but in warm-up; the model is too slow for the event loop.
    folder = write_folder(tmp_path / "model", mlp(hidden=300_000))
    with (
        serving(folder, tmp_path / "log", EDGEMODEL_QUEUE_LIMIT="1000") as target,
        crowd(target.port) as clients,
    ):
        clients.join(500, infer("first"))
        clients.read(60, until=lambda: len(clients.statuses()) == 500)
        assert clients.statuses() == [200] * 500
