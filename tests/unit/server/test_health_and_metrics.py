"""Health, metadata and what Prometheus sees, over the life of a server."""

from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgemodel_contract.serving import (
    IN_FLIGHT_METRIC,
    LIVE_PATH,
    METRICS_PATH,
    READY_PATH,
    REQUEST_DURATION_BUCKETS,
    REQUEST_DURATION_METRIC,
)
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.service import Service, load_model
from tests.unit.server.builders import mlp
from tests.unit.server.conftest import Serve, client_of

INFER = "/v2/models/digits/infer"
REQUEST = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await client.get(METRICS_PATH)).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_readiness_follows_the_life_of_the_server(new_service: Callable[..., Service]) -> None:
    service = new_service(mlp())
    async with client_of(service) as client:
        loading = await client.get(READY_PATH)
        assert loading.status_code == 503
        assert loading.json() == {"ready": False, "error": "the model is being loaded"}
        assert (await client.get(LIVE_PATH)).json() == {"live": True}
        early = await client.post(INFER, json=REQUEST)
        assert early.status_code == 503
        assert early.headers["retry-after"] == "1"
        assert (await client.get("/v2/models/digits")).status_code == 503

        service.serve(load_model(service.settings, Parallelism(threads=1, workers=1, spinning=False)))
        for path in (READY_PATH, "/v2/models/digits/ready", "/v2/models/digits/versions/1/ready"):
            response = await client.get(path)
            assert response.status_code == 200
            assert response.json()["ready"] is True
        assert "connection" not in (await client.post(INFER, json=REQUEST)).headers

        service.drain()
        for path in (READY_PATH, "/v2/models/digits/ready"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.json()["ready"] is False
        assert (await client.get(LIVE_PATH)).status_code == 200
        late = await client.post(INFER, json=REQUEST)
        assert late.status_code == 200
        assert late.headers["connection"] == "close"


async def test_metadata_of_server_and_model(serve: Serve) -> None:
    client = await serve(mlp())
    server = (await client.get("/v2")).json()
    assert server["name"] == "edgemodel"
    assert server["extensions"] == ["binary_tensor_data", "classification", "model_configuration", "parameters"]
    for path in ("/v2/models/digits", "/v2/models/digits/versions/1"):
        assert (await client.get(path)).json() == {
            "name": "digits",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
        }


async def test_only_inference_is_measured_by_endpoint_and_code(serve: Serve) -> None:
    client = await serve(mlp())
    for path in (READY_PATH, "/v2", METRICS_PATH, "/nothing"):
        await client.get(path)
    for request in (REQUEST, REQUEST, {}):
        await client.post(INFER, json=request)
    await client.post("/predict")

    seen = await samples(client)
    counts = {
        tuple(sorted(labels)): value
        for (name, labels), value in seen.items()
        if name == f"{REQUEST_DURATION_METRIC}_count"
    }
    assert counts == {
        (("code", "200"), ("endpoint", "infer")): 2,
        (("code", "400"), ("endpoint", "infer")): 1,
        (("code", "404"), ("endpoint", "predict")): 1,
    }
    assert seen[IN_FLIGHT_METRIC, frozenset()] == 0
    assert seen["edgemodel_queue_depth", frozenset()] == 0
    assert seen["edgemodel_compute_duration_seconds_count", frozenset()] == 2
    assert seen["edgemodel_ready", frozenset()] == 1


async def test_the_buckets_are_those_of_the_contract(serve: Serve) -> None:
    client = await serve(mlp())
    await client.post(INFER, json=REQUEST)
    bounds = {
        float(dict(labels)["le"])
        for name, labels in await samples(client)
        if name == f"{REQUEST_DURATION_METRIC}_bucket"
    }
    assert bounds == {*REQUEST_DURATION_BUCKETS, float("inf")}


async def test_the_model_is_named_with_its_digests(serve: Serve) -> None:
    client = await serve(mlp())
    ((labels, value),) = [
        (dict(labels), value)
        for (name, labels), value in (await samples(client)).items()
        if name == "edgemodel_model_info"
    ]
    assert value == 1
    assert labels["model"] == "digits"
    assert labels["digest"].startswith("sha256:")
    assert labels["source_digest"] == "sha256:" + "0" * 64
    assert labels["task"] == "1" * 64


async def test_a_bug_is_a_500_without_its_inside(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    client = await serve(mlp())
    monkeypatch.setattr("edgemodel_server.endpoints.inference.decode_request", broken)
    response = await client.post(INFER, json=REQUEST)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
