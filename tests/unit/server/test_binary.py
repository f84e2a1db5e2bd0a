"""The binary tensor extension, and compressed bodies, as a client sees them."""

import gzip
import zlib
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from edgemodel_contract.task import Datatype
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.raw import encode_raw
from tests.unit.server.builders import identity, mlp, scaled_by_a_number
from tests.unit.server.conftest import Serve
from tests.unit.server.test_infer import INFER, ROW, SAMPLES

LENGTH = "inference-header-content-length"
PIXELS = np.arange(4, dtype=np.float32).reshape(1, 4)


def binary(header: Any, *tensors: bytes, length: int | str | None = None) -> dict[str, Any]:
    text = orjson.dumps(header)
    headers = {LENGTH: str(len(text) if length is None else length), "content-type": "application/octet-stream"}
    return {"content": b"".join([text, *tensors]), "headers": headers}


def tensor(name: str, array: Array, datatype: Datatype) -> dict[str, Any]:
    size = len(encode_raw(array))
    shape = list(array.shape)
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def answered(response: httpx.Response) -> tuple[dict[str, Any], bytes]:
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    return orjson.loads(response.content[:length]), response.content[length:]


def sample(datatype: Datatype) -> Array:
    return np.array(SAMPLES[datatype], dtype=NUMPY[datatype])


async def test_every_datatype_comes_back_bit_by_bit(serve: Serve) -> None:
    client = await serve(identity(sorted(SAMPLES), ["N"]))
    arrays = {kind: sample(kind) for kind in sorted(SAMPLES)}
    response = await client.post(
        INFER,
        **binary(
            {
                "id": "7",
                "inputs": [tensor(f"in_{kind}", array, kind) for kind, array in arrays.items()],
                "parameters": {"binary_data_output": True},
            },
            *(bytes(encode_raw(array)) for array in arrays.values()),
        ),
    )
    header, content = answered(response)
    assert response.headers["content-type"] == "application/octet-stream"
    assert header["id"] == "7"
    for output in header["outputs"]:
        size = output["parameters"]["binary_data_size"]
        assert "data" not in output
        assert content[:size] == encode_raw(arrays[output["datatype"]])
        content = content[size:]
    assert content == b""


async def test_json_and_raw_bytes_mix_in_one_request_and_one_answer(serve: Serve) -> None:
    client = await serve(identity(["FP32", "INT64", "BYTES"], [2]))
    inputs = [
        {"name": "in_INT64", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        tensor("in_BYTES", sample("BYTES"), "BYTES"),
        tensor("in_FP32", sample("FP32"), "FP32"),
    ]
    outputs = [
        {"name": "out_FP32"},
        {"name": "out_BYTES", "parameters": {"binary_data": True}},
        {"name": "out_INT64", "parameters": {"binary_data": False}},
    ]
    raw = [bytes(encode_raw(sample(kind))) for kind in ("BYTES", "FP32")]
    header, content = answered(await client.post(INFER, **binary({"inputs": inputs, "outputs": outputs}, *raw)))
    floats, strings, integers = header["outputs"]
    assert np.float32(floats["data"]).tolist() == sample("FP32").tolist()
    assert strings["parameters"] == {"binary_data_size": len(content)}
    assert content == raw[0]
    assert integers["data"] == [1, 2]


async def test_an_input_without_dimensions_is_served_as_raw_bytes(serve: Serve) -> None:
    client = await serve(scaled_by_a_number())
    values, factor = np.array([[1, 2], [3, 4]], np.float32), np.array(2, np.float32)
    inputs = [tensor("x", values, "FP32"), tensor("factor", factor, "FP32")]
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    header, content = answered(await client.post(INFER, **binary(request, values.tobytes(), factor.tobytes())))
    assert [output["shape"] for output in header["outputs"]] == [[2, 2], []]
    assert content == (2 * values).tobytes() + factor.tobytes()


async def test_a_json_answer_to_raw_bytes_and_the_other_way_round(serve: Serve) -> None:
    client = await serve(mlp())
    from_json = await client.post(INFER, json={"inputs": [ROW], "parameters": {"binary_data_output": True}})
    row = np.array([ROW["data"]], dtype=np.float32)
    from_raw = await client.post(INFER, **binary({"inputs": [tensor("x", row, "FP32")]}, row.tobytes()))
    _, content = answered(from_json)
    assert LENGTH not in from_raw.headers
    values = np.float32(from_raw.json()["outputs"][0]["data"])
    np.testing.assert_array_equal(np.frombuffer(content, dtype=np.float32), values)


@pytest.mark.parametrize(
    ("entry", "raw", "message"),
    [
        ({"parameters": {"binary_data_size": 12}}, 12, "inputs[0] as binary has 12 bytes; FP32 of shape [1, 4] has 16"),
        (
            {"parameters": {"binary_data_size": 17}},
            16,
            "inputs[0].parameters.binary_data_size is 17; 16 bytes are left",
        ),
        ({"parameters": {"binary_data_size": -1}}, 16, "binary_data_size is -1"),
        ({"parameters": {"binary_data_size": True}}, 16, "binary_data_size is True"),
        ({"parameters": {"binary_data_size": "16"}}, 16, "binary_data_size is '16'"),
        ({"parameters": {"binary_data_size": 2**63}}, 16, "binary_data_size is "),
        ({}, 18, "2 bytes follow the last tensor"),
        ({"data": [1, 2, 3, 4]}, 16, "inputs[0] has both data and parameters.binary_data_size"),
        ({"shape": [2**31 - 1, 4]}, 16, "inputs[0] as binary has 16 bytes"),
        ({"shape": [2**40, 4]}, 16, "inputs[0].shape[0] is 1099511627776"),
        ({"shape": [-1, 4]}, 16, "inputs[0].shape[0] is -1"),
        ({"datatype": "INT32"}, 16, "inputs[0].datatype is 'INT32'; the model takes FP32"),
    ],
)
async def test_raw_bytes_that_do_not_fit_are_a_400_that_names_the_field(
    serve: Serve, entry: dict[str, Any], raw: int, message: str
) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, **binary({"inputs": [tensor("x", PIXELS, "FP32") | entry]}, bytes(raw)))
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("1000", "Inference-Header-Content-Length is 1000 but the body has"),
        ("10", "the body is not JSON"),
        ("0", "the body is not JSON"),
        ("-1", "Inference-Header-Content-Length is '-1'; give a number of bytes"),
        ("many", "Inference-Header-Content-Length is 'many'"),
        ("9" * 30, "Inference-Header-Content-Length is '9999"),
    ],
)
async def test_a_wrong_header_length_is_a_400(serve: Serve, length: str, message: str) -> None:
    client = await serve(mlp())
    request = binary({"inputs": [tensor("x", PIXELS, "FP32")]}, PIXELS.tobytes(), length=length)
    response = await client.post(INFER, **request)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " has 0 bytes; 2 elements of BYTES have at least 4 each"),
        (b"\x01\0\0\0a\xff\xff\xff\xff", "[1] says it has 4294967295 bytes; 0 are left"),
        (b"\x01\0\0\0a\x00\0\0\0b", " has 1 bytes after its 2 elements"),
        (b"\x04\0\0\0abcd", "[1] is missing: the 8 bytes end before it"),
        (b"\x01\0\0\0\xff\x00\0\0\0", "[0] is not UTF-8"),
    ],
)
async def test_damaged_strings_are_a_400(serve: Serve, content: bytes, message: str) -> None:
    client = await serve(identity(["BYTES"], [2]))
    entry = {"name": "in_BYTES", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    response = await client.post(INFER, **binary({"inputs": [entry]}, content))
    assert response.status_code == 400
    assert f"inputs[0] as binary{message}" in response.json()["error"]


async def test_a_boolean_is_0_or_1(serve: Serve) -> None:
    client = await serve(identity(["BOOL"], [3]))
    entry = {"name": "in_BOOL", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}
    response = await client.post(INFER, **binary({"inputs": [entry]}, b"\0\1\2"))
    assert response.status_code == 400
    assert "inputs[0] as binary[2] is 2; a BOOL is 0 or 1" in response.json()["error"]


def deflated(body: bytes) -> bytes:
    return zlib.compress(body)


def bare(body: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(body) + encoder.flush()


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", deflated), ("deflate", bare)]
)
@pytest.mark.parametrize("count", [1, 50_000])
async def test_a_compressed_body_is_read(serve: Serve, coding: str, encode: Any, count: int) -> None:
    client = await serve(identity(["FP32"], ["N"]))
    body = orjson.dumps({"inputs": [{"name": "in_FP32", "datatype": "FP32", "shape": [count], "data": [0.5] * count}]})
    response = await client.post(INFER, content=encode(body), headers={"content-encoding": coding})
    assert response.json()["outputs"][0]["data"] == [0.5] * count


@pytest.mark.parametrize("accept", ["gzip", "deflate", "br, deflate;q=0.5", "identity;q=0.1, gzip", "*"])
@pytest.mark.parametrize("raw", [True, False])
async def test_the_answer_is_compressed_for_those_who_ask(serve: Serve, accept: str, raw: bool) -> None:
    client = await serve(identity(["FP32"], ["N"]))
    request = {
        "inputs": [{"name": "in_FP32", "datatype": "FP32", "shape": [1000], "data": [0.5] * 1000}],
        "parameters": {"binary_data_output": raw},
    }
    response = await client.post(INFER, json=request, headers={"accept-encoding": accept})
    assert response.headers["content-encoding"] == ("deflate" if "deflate" in accept else "gzip")
    assert response.headers["vary"] == "accept-encoding"
    if raw:
        _, content = answered(response)
        assert np.frombuffer(content, dtype=np.float32).tolist() == [0.5] * 1000
    else:
        assert response.json()["outputs"][0]["data"] == [0.5] * 1000


@pytest.mark.parametrize("accept", ["", "br", "gzip;q=0", "identity, gzip;q=0.5", "gzip;q=many"])
async def test_the_answer_is_not_compressed_for_others(serve: Serve, accept: str) -> None:
    client = await serve(identity(["FP32"], ["N"]))
    request = {"inputs": [{"name": "in_FP32", "datatype": "FP32", "shape": [1000], "data": [0.5] * 1000}]}
    response = await client.post(INFER, json=request, headers={"accept-encoding": accept})
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("encode", [gzip.compress, deflated, bare])
async def test_a_bomb_is_a_413(serve: Serve, encode: Any) -> None:
    client = await serve(mlp(), {"EDGEMODEL_MAX_BODY": "1Mi"})
    coding = "gzip" if encode is gzip.compress else "deflate"
    bomb = encode(bytes(100 * 2**20))
    assert len(bomb) < 2**20
    response = await client.post(INFER, content=bomb, headers={"content-encoding": coding})
    assert response.status_code == 413
    assert "larger than 1048576 bytes when unpacked" in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "the body is not gzip"),
        (gzip.compress(b"{}")[:-3], "it ends early"),
        (gzip.compress(b"{}") + b"more", "it goes on after its end"),
        (b"", "it ends early"),
    ],
)
async def test_a_damaged_compressed_body_is_a_400(serve: Serve, content: bytes, message: str) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, content=content, headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"id": "a", "id": "b", "inputs": []}', 400, "the key 'id' twice"),
        (b'{"inputs": [{"name": "x", "name": "x"}]}', 400, "the key 'name' twice"),
        (b'{"inputs": [{"name": "x", "parameters": {"a": 1, "a:b": 2, "a": 3}}]}', 400, "the key 'a' twice"),
        (b'{"id": "a:b", "\\u0069d": "c", "inputs": []}', 400, "the key 'id' twice"),
        (b'{"id": "a", "id": "\\u003A", "inputs": []}', 400, "the key 'id' twice"),
        (b'{"id": ' + b'{"a":' * 990 + b"1" + b"}" * 990 + b"}", 400, "id is "),
        (
            b'{"id": "urn:a:b", "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}',
            200,
            "",
        ),
    ],
)
async def test_a_key_that_comes_twice_is_refused_by_name(serve: Serve, body: bytes, status: int, message: str) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, content=body)
    assert response.status_code == status
    assert message in response.text
