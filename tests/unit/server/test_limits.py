"""What keeps a server standing: bounds on bodies, on memory and on the queue."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from edgemodel_server.datatypes import Array
from edgemodel_server.engine import Engine, Stop
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

    client = await serve(mlp(), {"EDGEMODEL_BODY_TIMEOUT_SECONDS": "0.05"})
    response = await client.post(INFER, content=stalled())
    assert response.status_code == 408
    assert "did not arrive within 0.05 seconds" in response.json()["error"]


async def test_bodies_share_a_bounded_memory_and_give_it_back(serve: Serve) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b" " * 900
        arrived.set()
        await release.wait()

    client = await serve(mlp(), {"EDGEMODEL_MAX_BODY": "1k", "EDGEMODEL_MAX_BUFFERED": "1k"})
    holding = asyncio.create_task(client.post(INFER, content=slow()))
    await asyncio.wait_for(arrived.wait(), 10)
    refused = await client.post(INFER, content=b" " * 200)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    release.set()
    assert (await holding).status_code == 400
    assert (await client.post(INFER, content=b" " * 900)).status_code == 400


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


async def test_beyond_the_queue_requests_are_refused_and_the_others_all_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await serve(mlp(), {"EDGEMODEL_QUEUE_LIMIT": "2"})
    engine = HeldEngine(monkeypatch)
    requests = [asyncio.create_task(client.post(INFER, json=REQUEST)) for _ in range(10)]
    try:
        # One computes and two wait.
        refused = [await done for _, done in zip(range(7), asyncio.as_completed(requests), strict=False)]
    finally:
        engine.release.set()
    assert [response.status_code for response in refused] == [503] * 7
    assert all(response.headers["retry-after"] == "1" for response in refused)
    assert sorted(response.status_code for response in await asyncio.gather(*requests)) == [200] * 3 + [503] * 7
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
