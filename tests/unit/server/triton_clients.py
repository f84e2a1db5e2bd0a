"""Triton's own clients against a running server, in a process of their own: their protocol file has the same names as
the server's, and one process can hold only one of them.

``python -m tests.unit.server.triton_clients HTTP_PORT GRPC_PORT``, of a server whose model ``digits`` is the identity
of three inputs ``in_INT64``, ``in_FP32`` and ``in_BYTES`` of shape (N), with the labels ``zero``, ``one`` and ``two``.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

ARRAYS: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
    "FP32": np.array([0.5, -3.4e38, 1e-40], dtype=np.float32),
    "INT64": np.array([2**53 + 1, -(2**63), 0], dtype=np.int64),
    "BYTES": np.array(["", "Zürich 五", "a:b"], dtype=object),
}


def inputs(module: Any, **options: bool) -> list[Any]:
    made = []
    for kind, array in ARRAYS.items():
        tensor = module.InferInput(f"in_{kind}", list(array.shape), kind)
        tensor.set_data_from_numpy(array, **options)
        made.append(tensor)
    return made


def check(result: Any, kinds: Sequence[str] = tuple(ARRAYS)) -> None:
    for kind in kinds:
        array = result.as_numpy(f"out_{kind}")
        if kind == "BYTES":
            array = np.array([item.decode() if isinstance(item, bytes) else item for item in array], dtype=object)
        np.testing.assert_array_equal(array, ARRAYS[kind])
    for kind in ARRAYS:
        assert kind in kinds or result.as_numpy(f"out_{kind}") is None


def check_classes(module: Any, client: Any, **options: bool) -> None:
    """The two largest of an output, as the client asks for them."""
    outputs = [module.InferRequestedOutput("out_INT64", class_count=2, **options)]
    found = client.infer("digits", inputs(module), outputs=outputs).as_numpy("out_INT64")
    assert [item.decode() if isinstance(item, bytes) else item for item in found] == [
        "9007199254740993:0:zero",
        "0:2:two",
    ]


def check_http(url: str) -> None:
    with http_client.InferenceServerClient(url) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits", "1")
        assert client.get_server_metadata()["name"] == "edgemodel"
        assert client.get_model_metadata("digits")["inputs"][1]["datatype"] == "FP32"
        assert client.get_model_config("digits")["input"][2]["data_type"] == "TYPE_STRING"
        for binary in (True, False):
            check(client.infer("digits", inputs(http_client, binary_data=binary)))
            outputs = [http_client.InferRequestedOutput("out_INT64", binary_data=binary)]
            check(client.infer("digits", inputs(http_client, binary_data=not binary), outputs=outputs), ["INT64"])
            check_classes(http_client, client, binary_data=binary)
        for coding in ("gzip", "deflate"):
            tensors = inputs(http_client)
            check(
                client.infer(
                    "digits",
                    tensors,
                    request_id="7",
                    timeout=5_000_000,
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
            )
        check(client.async_infer("digits", inputs(http_client)).get_result())
        with pytest.raises(InferenceServerException, match="there is no model 'other'") as refusal:
            client.infer("other", inputs(http_client))
        assert refusal.value.status() == "404"


def check_grpc(url: str) -> None:
    with grpc_client.InferenceServerClient(url) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits", "1")
        assert client.get_server_metadata().name == "edgemodel"
        assert client.get_model_metadata("digits", as_json=True)["inputs"][0]["shape"] == ["-1"]
        assert client.get_model_config("digits", as_json=True)["config"]["backend"] == "onnxruntime"
        check(client.infer("digits", inputs(grpc_client), request_id="7", timeout=5_000_000))
        outputs = [grpc_client.InferRequestedOutput("out_BYTES")]
        check(client.infer("digits", inputs(grpc_client), outputs=outputs, compression_algorithm="gzip"), ["BYTES"])
        check_classes(grpc_client, client)
        with pytest.raises(InferenceServerException, match="there is no model 'other'") as refusal:
            client.infer("other", inputs(grpc_client))
        assert refusal.value.status() == "StatusCode.NOT_FOUND"


async def check_http_aio(url: str) -> None:
    async with http_aio.InferenceServerClient(url) as client:
        assert await client.is_server_ready()
        for binary in (True, False):
            check(await client.infer("digits", inputs(http_aio, binary_data=binary)))
        calls = [client.infer("digits", inputs(http_aio)) for _ in range(32)]
        for result in await asyncio.gather(*calls):
            check(result)


async def check_grpc_aio(url: str) -> None:
    async with grpc_aio.InferenceServerClient(url) as client:
        assert await client.is_model_ready("digits")
        calls = [client.infer("digits", inputs(grpc_aio)) for _ in range(32)]
        for result in await asyncio.gather(*calls):
            check(result)


def main() -> None:
    http, grpc = (f"127.0.0.1:{port}" for port in sys.argv[1:])
    check_grpc(grpc)
    check_http(http)
    asyncio.run(check_http_aio(http))
    asyncio.run(check_grpc_aio(grpc))


if __name__ == "__main__":
    main()
