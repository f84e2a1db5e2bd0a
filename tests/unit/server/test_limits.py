"""What keeps a server standing: bounds on bodies, on memory and on the queue."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from edgemodel_server.model.engine import Engine, Stop
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.estimates import RunTimes
from edgemodel_server.scheduling.scheduler import Scheduler
from tests.unit.server.builders import brighter_side, mlp
from tests.unit.server.conftest import Serve

INFER = "/v2/models/digits/infer"
REQUEST = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


async def in_chunks(size: int, chunk: int = 100) -> AsyncIterator[bytes]:
    for _ in range(0, size, chunk):
        yield b" " * chunk


@pytest.mark.parametrize("path", [INFER, "/predict"])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_a_413(serve: Serve, path: str, declared: bool) -> None:
    client = await serve(brighter_side(), {"EDGEMODEL_MAX_BODY": "1k"})
    for size in (1100, 50_000):
        response = await client.post(path, content=b" " * size if declared else in_chunks(size))
        assert response.status_code == 413
        assert "larger than 1000 bytes" in response.json()["error"]
        assert response.headers["connection"] == "close"


async def test_a_body_that_never_ends_is_a_408(serve: Serve) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    client = await serve(mlp(), {"EDGEMODEL_BODY_TIMEOUT": "50ms"})
    response = await client.post(INFER, content=stalled())
    assert response.status_code == 408
    assert "did not arrive within 0.05 seconds" in response.json()["error"]


async def test_bodies_share_a_bounded_memory_and_give_it_back(serve: Serve) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b" " * 1000
        arrived.set()
        await release.wait()

    client = await serve(mlp(), {"EDGEMODEL_MAX_BODY": "1k", "EDGEMODEL_MAX_BUFFERED": "1k"})
    # The memory always has room for three of the largest bodies, and one connection for half of that.
    holding = asyncio.create_task(client.post(INFER, content=slow()))
    await asyncio.wait_for(arrived.wait(), 10)
    refused = await client.post(INFER, content=b" " * 600)
    assert refused.status_code == 429
    assert "this client's share of the server's memory" in refused.json()["error"]
    assert refused.headers["retry-after"] == "1"
    release.set()
    assert (await holding).status_code == 400
    assert (await client.post(INFER, content=b" " * 900)).status_code == 400


async def test_an_answer_counts_as_memory_and_is_refused_where_there_is_none(serve: Serve) -> None:
    client = await serve(mlp(classes=1000), {"EDGEMODEL_MAX_BODY": "1k", "EDGEMODEL_MAX_BUFFERED": "8k"})
    refused = await client.post(INFER, json=REQUEST)
    assert refused.status_code == 413
    assert "may have 4000; send less, or raise EDGEMODEL_MAX_BUFFERED" in refused.json()["error"]
    assert (await client.post(INFER, json={})).status_code == 400


class HeldEngine:
    """Lets inferences begin, and finish only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.release = threading.Event(), threading.Event()
        run = Engine.run

        def held(
            engine: Engine, inputs: Mapping[str, Array], outputs: Sequence[str], stop: Stop | None = None
        ) -> list[Array]:
            self.begun.set()
            assert self.release.wait(30)
            return run(engine, inputs, outputs, stop)

        monkeypatch.setattr(Engine, "run", held)
        # As of any model that takes so long, nobody runs it on the event loop.
        monkeypatch.setattr(Scheduler, "is_quick", lambda _, __: False)


async def test_beyond_the_queue_requests_are_refused_and_the_others_all_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await serve(mlp(), {"EDGEMODEL_QUEUE_LIMIT": "4"})
    engine = HeldEngine(monkeypatch)
    requests = [asyncio.create_task(client.post(INFER, json=REQUEST)) for _ in range(10)]
    try:
        # One computes and two wait: two thirds of all places.
        refused = [await done for _, done in zip(range(7), asyncio.as_completed(requests), strict=False)]
    finally:
        engine.release.set()
    assert [response.status_code for response in refused] == [429] * 7
    assert all("share of the queue" in response.json()["error"] for response in refused)
    assert sorted(response.status_code for response in await asyncio.gather(*requests)) == [200] * 3 + [429] * 7
    assert (await client.post(INFER, json=REQUEST)).status_code == 200


async def test_health_answers_while_the_model_computes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await serve(mlp())
    engine = HeldEngine(monkeypatch)
    computing = asyncio.create_task(client.post(INFER, json=REQUEST))
    try:
        assert await asyncio.to_thread(engine.begun.wait, 30)
        assert (await client.get("/v2/health/ready")).status_code == 200
        assert "edgemodel_requests_in_flight 1.0" in (await client.get("/metrics")).text
        assert not computing.done()
    finally:
        engine.release.set()
    assert (await computing).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"), [("x-request-timeout", "0.05"), ("x-envoy-expected-rq-timeout-ms", "50"), (None, "50000")]
)
async def test_a_request_whose_time_runs_out_is_a_504(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, header: str | None, value: str
) -> None:
    client = await serve(mlp())
    engine = HeldEngine(monkeypatch)
    try:
        late = await client.post(
            INFER,
            json={**REQUEST, "parameters": {} if header else {"timeout": int(value)}},
            headers={header: value} if header else {},
        )
    finally:
        engine.release.set()
    assert late.status_code == 504
    assert "time ran out" in late.json()["error"]
    assert 'edgemodel_requests_rejected_total{reason="expired"} 1.0' in (await client.get("/metrics")).text
    assert (await client.post(INFER, json=REQUEST)).status_code == 200


async def test_nobody_waits_longer_than_the_server_allows(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await serve(mlp(), {"EDGEMODEL_REQUEST_TIMEOUT": "50ms"})
    engine = HeldEngine(monkeypatch)
    try:
        late = await client.post(INFER, json={**REQUEST, "parameters": {"timeout": 2**62}})
    finally:
        engine.release.set()
    assert late.status_code == 504


@pytest.mark.parametrize(
    ("timeout", "headers", "message"),
    [
        (-1, {}, "parameters.timeout is -1; give microseconds"),
        (True, {}, "parameters.timeout is True"),
        (1.5, {}, "parameters.timeout is 1.5"),
        (0, {"x-request-timeout": "soon"}, "X-Request-Timeout is 'soon'; give a number from 0"),
        (0, {"x-request-timeout": "nan"}, "X-Request-Timeout is 'nan'"),
        (0, {"x-request-timeout": "-1"}, "X-Request-Timeout is '-1'"),
    ],
)
async def test_a_timeout_that_is_none_is_a_400(
    serve: Serve, timeout: object, headers: dict[str, str], message: str
) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, json={**REQUEST, "parameters": {"timeout": timeout}}, headers=headers)
    assert response.status_code == 400
    assert message in response.json()["error"]


async def test_a_request_that_cannot_be_in_time_is_refused_before_its_body_is_read(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    client = await serve(mlp())
    monkeypatch.setattr(RunTimes, "of", lambda _, rows: 20.0 * rows)
    engine = HeldEngine(monkeypatch)
    computing = asyncio.create_task(client.post(INFER, json=REQUEST))
    try:
        assert await asyncio.to_thread(engine.begun.wait, 30)
        refused = await client.post(INFER, content=never(), headers={"x-request-timeout": "30"})
    finally:
        engine.release.set()
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "20"
    assert (await computing).status_code == 200


async def test_the_answer_says_where_the_time_went(serve: Serve) -> None:
    client = await serve(mlp())
    timing = (await client.post(INFER, json=REQUEST)).headers["server-timing"]
    parts = dict(part.split(";dur=") for part in timing.split(", "))
    assert list(parts) == ["decode", "queue", "compute"]
    assert all(float(milliseconds) >= 0 for milliseconds in parts.values())
