"""Nobody gets another's answer: which models let requests share runs, over real connections of several clients."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.engine import Engine, Stop
from edgemodel_server.model.folder import open_folder
from edgemodel_server.model.independence import prove_independence
from edgemodel_server.model.rows.proof import Proof
from edgemodel_server.model.warm_up import PART_SECONDS, Profile, warm_up
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.estimates import RunTimes
from edgemodel_server.scheduling.sharing import Batching, Sharing
from tests.unit.server.builders import (
    brighter_side,
    countdown,
    detector,
    dynamically_quantized,
    mlp,
    pair_sum,
    picky_lookup,
    scaled_by_a_number,
    scaled_integers,
    write_folder,
)
from tests.unit.server.conftest import Serve
from tests.unit.server.test_infer import INFER
from tests.unit.server.test_process import running

ONE = Parallelism(threads=1, workers=1, spinning=False)
CLIENTS, EACH = 4, 40

Answers = dict[str, Any]


def objects(count: int, place: float) -> list[float]:
    """Eight candidates, of which the first ``count`` are objects at ``place`` and after it."""
    rows = [[place + i, place, place + i + 0.5, place + 0.5, 1.0 if i < count else 0.0, 0, 0, 0] for i in range(8)]
    return [number for row in rows for number in row]


def ask(url: str, datatype: str, rows: list[list[float]]) -> Answers:
    data = [number for row in rows for number in row]
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": datatype, "data": data}
    answer = httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": [tensor]}, timeout=30)
    assert answer.status_code == 200, answer.text
    outputs: Answers = answer.json()["outputs"][0]
    return outputs


@pytest.mark.parametrize(
    ("model", "datatype", "rows"),
    [
        (detector(), "FP32", [[objects(2, 1.0)], [objects(0, 5.0)], [objects(1, 9.0)], [objects(3, 20.0)] * 2]),
        (scaled_integers(), "INT64", [[[1, 2, 3, 4]], [[10, 20, 30, 40]], [[100, 200, 300, 400]], [[7, 7, 7, 7]] * 3]),
        (dynamically_quantized(), "FP32", [[[0.1, 0.2, 0.3, 0.4]], [[99.0, 1.0, 2.0, 3.0]], [[5.0] * 4], [[0.5] * 4]]),
        (mlp(features=256, hidden=512), "FP32", [[[float(i)] * 256] for i in range(4)]),
    ],
    ids=["objects found", "integers scaled by the largest", "scale of the batch", "independent rows"],
)
def test_each_of_several_clients_gets_the_answer_to_its_own_request(
    tmp_path: Path, model: onnx.ModelProto, datatype: str, rows: list[list[list[float]]]
) -> None:
    folder = write_folder(tmp_path, model)
    delay = {"EDGEMODEL_MAX_BATCH_DELAY": "20ms", "EDGEMODEL_DRAIN": "0s"}
    with running(folder, **delay) as server, ThreadPoolExecutor(CLIENTS) as clients:
        expected = [ask(server.url, datatype, one) for one in rows]

        def repeat(client: int) -> list[Answers]:
            return [ask(server.url, datatype, rows[client]) for _ in range(EACH)]

        for client, answers in enumerate(clients.map(repeat, range(CLIENTS))):
            for answer in answers:
                assert answer["shape"] == expected[client]["shape"]
                np.testing.assert_allclose(answer["data"], expected[client]["data"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (mlp(), None),
        (brighter_side(), None),
        (picky_lookup(), None),
        (dynamically_quantized(), "operator DynamicQuantizeLinear takes its scale from the whole batch"),
        (detector(), "operator NonMaxSuppression makes as many results as its input's values decide"),
        (scaled_integers(), "operator ReduceMax runs over the batch"),
        (countdown(), "output 'total' does not have the batch as its first dimension, open to any size"),
        (scaled_by_a_number(), "output 'same' does not have the batch as its first dimension, open to any size"),
    ],
    ids=["mlp", "image", "lookup", "scale of the batch", "objects found", "integers", "fixed shape", "a number"],
)
def test_the_graph_tells_whether_rows_are_independent(tmp_path: Path, model: onnx.ModelProto, why: str | None) -> None:
    folder = open_folder(write_folder(tmp_path, model))
    assert prove_independence(folder).reason == why
    assert warm_up(Engine(folder, ONE), prove_independence(folder), 8).proof.reason == why


def test_two_inputs_that_need_not_have_as_many_rows_are_added_alone(tmp_path: Path) -> None:
    proof = prove_independence(open_folder(write_folder(tmp_path, pair_sum())))
    ones, one = np.ones(3, np.float32), np.ones(1, np.float32)
    assert proof.rows({"a": ones, "b": ones}) == len(ones)
    assert proof.rows({"a": ones, "b": one}) is None
    assert proof.rows({"a": ones[:0], "b": ones[:0]}) is None


def test_a_trial_refutes_a_proof_and_never_makes_one(tmp_path: Path) -> None:
    folder = open_folder(write_folder(tmp_path / "scale", dynamically_quantized()))
    wrong = warm_up(Engine(folder, ONE), Proof(None), 8)
    assert wrong.proof.reason == "two rows together gave another result than each alone, in a trial"
    assert (wrong.rows, wrong.part) == (1, None)
    folder = open_folder(write_folder(tmp_path / "mlp", mlp()))
    assert warm_up(Engine(folder, ONE), Proof("nobody knows"), 8).proof == Proof("nobody knows")


async def test_configuration_and_page_say_why_requests_share_no_run(serve: Serve) -> None:
    client = await serve(detector())
    config = (await client.get("/v2/models/digits/config")).json()
    why = "operator NonMaxSuppression makes as many results as its input's values decide"
    assert config["max_batch_size"] == 0
    assert why in config["parameters"]["batching_off_because"]["string_value"]
    assert "NonMaxSuppression" in (await client.get("/")).text


async def test_a_proof_that_a_run_refutes_is_given_up_and_all_answers_are_right(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Should the proof ever be wrong, the first shared run whose outputs do not add up shows it."""
    monkeypatch.setattr("edgemodel_server.service.prove_independence", lambda _: Proof(None))
    monkeypatch.setattr("edgemodel_server.service.warm_up", lambda *_: Profile([], {1: 0.001}, Proof(None), rows=8))
    client = await serve(detector(), {"EDGEMODEL_MAX_BATCH_DELAY": "50ms"})

    async def infer(rows: list[float]) -> Answers:
        tensor = {"name": "x", "shape": [len(rows) // 64, 64], "datatype": "FP32", "data": rows}
        answer = (await client.post(INFER, json={"inputs": [tensor]})).json()
        outputs: Answers = answer["outputs"][0]
        return outputs

    # More than one object in each, so that no group of them has as many objects as rows by accident.
    given = [objects(count, place) for count, place in [(2, 1.0), (3, 5.0), (3, 9.0), (2, 30.0)] * 4]
    answers = await asyncio.gather(*map(infer, given))
    assert [answer["shape"] for answer in answers] == [[count, 4] for count in (2, 3, 3, 2)] * 4
    assert "requests no longer share runs of the model" in caplog.text
    config = (await client.get("/v2/models/digits/config")).json()
    assert "an output for" in config["parameters"]["batching_off_because"]["string_value"]


PROVED = Proof(None)


@pytest.mark.parametrize(
    ("profile", "rows", "workers", "parts"),
    [
        (Profile([], {1: 0.001, 64: 0.002}, PROVED, rows=32), 10**5, 1, 1),
        (Profile([], {1: 0.1, 2: 0.2}, PROVED, rows=1, part=1), 10, 1, 10),
        (Profile([], {1: 0.1, 2: 0.11}, PROVED, rows=2), 10, 1, 1),
        (Profile([], {1: 0.0001, 2: 0.0002}, PROVED, rows=1, part=1), 1000, 1, 10),
        (Profile([], {1: 0.001, 64: 0.002}, PROVED, rows=32), 10**5, 4, 4),
        (Profile([], {1: 0.1}, Proof("they mix")), 10, 4, 1),
    ],
    ids=["larger is faster", "larger is slower", "not measured to the end", "parts are long", "workers", "they mix"],
)
def test_a_request_is_cut_only_where_that_is_faster(profile: Profile, rows: int, workers: int, parts: int) -> None:
    sharing = Sharing(Batching(32, 0.0), profile, workers)
    given = {"x": np.ones((rows, 8), np.float32)}
    cut = sharing.parts(sharing.rows(given), RunTimes(profile.seconds))
    assert len(cut) == parts
    if profile.part is not None:
        each = profile.seconds[1]
        assert all((part.stop - part.start) * each >= PART_SECONDS for part in cut)


class Timed:
    """An engine whose runs take as long as one says."""

    def __init__(self, engine: Engine, seconds: Callable[[int], float]) -> None:
        self.card = engine.card
        self._engine, self._seconds = engine, seconds
        self.now = 0.0

    def run(self, inputs: dict[str, Array], outputs: list[str], stop: Stop | None = None) -> list[Array]:
        self.now += self._seconds(len(inputs["x"]))
        return self._engine.run(inputs, outputs, stop)


@pytest.mark.parametrize(
    ("seconds", "rows", "part", "measured"),
    [
        (lambda rows: 0.001 * rows, 1, 1, 2),
        (lambda rows: 0.001 * max(rows, 4), 4, 4, 8),
        (lambda rows: 0.001 + 0.000001 * rows, 8, None, 16384),
        (lambda _: 0.05, 8, None, 8),
        (lambda rows: 0.001 * rows if rows < 8 else 0.00095 * rows, 1, 1, 2),
        (lambda rows: 0.01 * rows**0.9, 1, None, 8),
    ],
    ids=["no gain", "up to four", "always", "slow", "late", "little"],
)
def test_warm_up_measures_until_larger_batches_are_no_faster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: Callable[[int], float],
    rows: int,
    part: int | None,
    measured: int,
) -> None:
    engine: Any = Timed(Engine(open_folder(write_folder(tmp_path, mlp())), ONE), seconds)
    monkeypatch.setattr("edgemodel_server.model.warm_up.time.perf_counter", lambda: engine.now)
    profile = warm_up(engine, PROVED, 8)
    assert (profile.rows, profile.part) == (rows, part)
    assert max(profile.seconds) == measured
