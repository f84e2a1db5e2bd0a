"""POST /v2/models/{name}/infer, as a client sees it."""

from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from edgemodel_contract.task import Datatype
from tests.unit.server.builders import identity, mlp, pair_sum, picky_lookup, scaled_by_a_number
from tests.unit.server.conftest import Serve

INFER = "/v2/models/digits/infer"
ROW = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
SAMPLES: dict[Datatype, list[Any]] = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [0.5, -65504.0],
    "FP32": [0.1, -3.4e38],
    "FP64": [0.1, 1e308],
    "BYTES": ["", "Zürich 五"],
}


async def test_a_request_is_answered_with_what_the_model_computes(serve: Serve) -> None:
    client = await serve(mlp())
    flat = await client.post(INFER, json={"id": "7", "inputs": [ROW]})
    nested = await client.post(INFER, json={"inputs": [{**ROW, "data": [[1, 2, 3, 4]]}]})

    random = np.random.default_rng(0)
    w1, w2 = (random.standard_normal(size).astype(np.float32) for size in ((4, 8), (8, 3)))
    expected = np.maximum(np.array([[1, 2, 3, 4]], dtype=np.float32) @ w1, 0) @ w2
    assert flat.status_code == 200
    assert flat.headers["content-type"] == "application/json"
    answer = flat.json()
    assert answer | {"outputs": None} == {"model_name": "digits", "model_version": "1", "id": "7", "outputs": None}
    (output,) = answer["outputs"]
    assert output | {"data": None} == {"name": "logits", "datatype": "FP32", "shape": [1, 3], "data": None}
    np.testing.assert_allclose(output["data"], expected.ravel(), rtol=1e-5)
    assert "id" not in nested.json()
    assert nested.json()["outputs"] == answer["outputs"]


async def test_every_datatype_comes_back_as_it_was_sent(serve: Serve) -> None:
    client = await serve(identity(sorted(SAMPLES), ["N"]))
    inputs = [{"name": f"in_{kind}", "datatype": kind, "shape": [2], "data": data} for kind, data in SAMPLES.items()]
    response = await client.post(INFER, json={"inputs": inputs})
    assert response.status_code == 200, response.text
    answered = {item["name"]: item for item in response.json()["outputs"]}
    for kind, data in SAMPLES.items():
        output = answered[f"out_{kind}"]
        assert output["datatype"] == kind
        if kind == "FP32":
            assert [np.float32(item) for item in output["data"]] == [np.float32(item) for item in data]
        else:
            assert output["data"] == data


async def test_outputs_selects_and_orders(serve: Serve) -> None:
    client = await serve(identity(["FP32", "INT64"], [1]))
    request = {
        "inputs": [
            {"name": "in_INT64", "datatype": "INT64", "shape": [1], "data": [5], "parameters": {"x": 1}},
            {"name": "in_FP32", "datatype": "FP32", "shape": [1], "data": [0.5]},
        ],
        "parameters": {"priority": 1},
    }
    for names in (["out_INT64"], ["out_INT64", "out_FP32"]):
        response = await client.post(INFER, json={**request, "outputs": [{"name": name} for name in names]})
        assert [item["name"] for item in response.json()["outputs"]] == names


async def test_a_large_request_and_a_large_answer_are_served(serve: Serve) -> None:
    client = await serve(identity(["FP32"], ["N"]))
    data = np.arange(100_000, dtype=np.float32).tolist()
    response = await client.post(
        INFER, json={"inputs": [{"name": "in_FP32", "datatype": "FP32", "shape": [100_000], "data": data}]}
    )
    assert response.json()["outputs"][0]["data"] == data


async def test_not_a_number_is_answered_as_null(serve: Serve) -> None:
    client = await serve(pair_sum())
    big = {"datatype": "FP32", "shape": [1], "data": [3e38]}
    response = await client.post(INFER, json={"inputs": [{"name": "a", **big}, {"name": "b", **big}]})
    assert response.json()["outputs"][0]["data"] == [None]


@pytest.mark.parametrize(
    ("request_json", "message"),
    [
        ([], "not a JSON object"),
        ({}, "inputs is None; give a list with the model's inputs: x"),
        ({"inputs": {"x": [1]}}, "inputs is {'x': [1]}; give a list"),
        ({"inputs": []}, "inputs lacks x"),
        ({"inputs": [1]}, "inputs[0] is 1; give an object"),
        ({"inputs": [{**ROW, "name": "y"}]}, "inputs[0].name is 'y'; the model's inputs are: x"),
        ({"inputs": [{**ROW, "name": None}]}, "inputs[0].name is None"),
        ({"inputs": [ROW, ROW]}, "inputs[1].name is 'x' a second time"),
        ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]}, "inputs[0].data is missing"),
        ({"inputs": [{**ROW, "datatype": "FP64"}]}, "inputs[0].datatype is 'FP64'; the model takes FP32"),
        ({"inputs": [{**ROW, "shape": [4]}]}, "inputs[0].shape has 1 dimensions"),
        ({"inputs": [{**ROW, "data": [1]}]}, "inputs[0].data has 1 elements"),
        ({"id": 7, "inputs": [ROW]}, "id is 7; give a string"),
        ({"inputs": [ROW], "parameters": 1}, "parameters is 1; give an object"),
        ({"inputs": [ROW], "outputs": "logits"}, "outputs is 'logits'; give a list"),
        ({"inputs": [ROW], "outputs": [{"name": "y"}]}, "outputs[0].name is 'y'; the model's outputs are: logits"),
        ({"inputs": [ROW], "outputs": [{"name": "logits"}] * 2}, "outputs[1].name is 'logits' a second time"),
        (
            {"inputs": [{**ROW, "parameters": {"binary_data_size": 16}}]},
            "inputs[0].parameters.binary_data_size needs the header Inference-Header-Content-Length",
        ),
    ],
)
async def test_a_request_that_does_not_fit_is_a_400_that_names_the_field(
    serve: Serve, request_json: Any, message: str
) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, json=request_json)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"inputs": NaN}',
        b'{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [Infinity]}]}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"inputs": ' + b"[" * 100_000,
        b'{"id": "\\ud800"}',
    ],
)
async def test_a_body_that_is_not_json_is_a_400(serve: Serve, body: bytes) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"].startswith("the body is not JSON")


async def test_an_error_never_echoes_a_whole_body(serve: Serve) -> None:
    client = await serve(mlp())
    for value in ("x" * 100_000, ["x"] * 100_000):
        response = await client.post(INFER, content=orjson.dumps({"inputs": [{**ROW, "datatype": value}]}))
        assert response.status_code == 400
        assert len(response.content) < 1000


async def test_values_that_the_model_refuses_are_a_400(serve: Serve) -> None:
    client = await serve(picky_lookup())
    index = {"name": "index", "datatype": "INT64", "shape": [1], "data": [2]}
    accepted = await client.post(INFER, json={"inputs": [index]})
    refused = await client.post(INFER, json={"inputs": [{**index, "data": [3]}]})
    assert accepted.json()["outputs"][0]["data"] == [30]
    assert refused.status_code == 400
    assert "the model refuses them" in refused.json()["error"]


async def test_a_model_that_fails_is_a_500_that_says_so(serve: Serve) -> None:
    client = await serve(pair_sum())
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [size], "data": [0] * size} for name, size in (("a", 2), ("b", 3))
    ]
    response = await client.post(INFER, json={"inputs": inputs})
    assert response.status_code == 500
    assert "the model failed on these inputs" in response.json()["error"]


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded"])
async def test_what_says_no_kind_of_content_is_json(serve: Serve, kind: str | None) -> None:
    client = await serve(mlp())
    headers = {} if kind is None else {"content-type": kind}
    response = await client.post(INFER, content=orjson.dumps({"inputs": [ROW]}), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/json", "content-encoding": "br"},
        {"content-type": "application/json", "content-encoding": "gzip, gzip"},
    ],
)
async def test_another_kind_of_content_is_a_415(serve: Serve, headers: dict[str, str]) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, content=b"{}", headers=headers)
    assert response.status_code == 415
    assert next(iter(reversed(headers))) in response.json()["error"].lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/digits/versions/1/infer", 200),
        ("POST", "/v2/models/digits/versions/2/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/models/digits", 405),
        ("GET", "/v2/models/digits/versions/2", 404),
        ("POST", "/nothing", 404),
    ],
)
async def test_other_names_versions_and_methods(serve: Serve, method: str, path: str, status: int) -> None:
    client = await serve(mlp())
    response: httpx.Response = await client.request(method, path, json={"inputs": [ROW]})
    assert response.status_code == status
    assert ("error" in response.json()) == (status != 200)


@pytest.mark.parametrize("where", ["inputs", "outputs"])
async def test_memory_that_client_and_server_share_is_refused_by_name(serve: Serve, where: str) -> None:
    client = await serve(mlp())
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}
    request: dict[str, Any] = {"inputs": [tensor], "outputs": [{"name": "logits"}]}
    request[where][0]["parameters"] = {"shared_memory_region": "mine", "shared_memory_byte_size": 12}
    response = await client.post(INFER, json=request)
    assert response.status_code == 400
    assert f"{where}[0].parameters.shared_memory_region is given" in response.json()["error"]


async def test_an_input_without_dimensions_is_served(serve: Serve) -> None:
    client = await serve(scaled_by_a_number())
    inputs = [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1.0, 2.0, 3.0, 4.0]},
        {"name": "factor", "shape": [], "datatype": "FP32", "data": [2.0]},
    ]
    response = await client.post(INFER, json={"inputs": inputs})
    assert response.status_code == 200, response.text
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    assert outputs["y"]["data"] == [2.0, 4.0, 6.0, 8.0]
    assert (outputs["same"]["shape"], outputs["same"]["data"]) == ([], [2.0])
