"""KServe's own client against a running server, in a process of its own: its protocol file has the same names as the
server's, and one process can hold only one of them.

``python -m tests.unit.server.kserve_client HTTP_PORT GRPC_PORT``, of the server that ``triton_clients`` wants.
"""

import asyncio
import sys
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ARRAYS: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
    "FP32": np.array([0.5, -3.4e38, 0.25], dtype=np.float32),
    "INT64": np.array([2**53 + 1, -(2**63), 0], dtype=np.int64),
    "BYTES": np.array(["", "Zürich 五", "a:b"], dtype=object),
}


def request(*, binary: bool, **options: Any) -> InferRequest:
    inputs = []
    for kind, array in ARRAYS.items():
        tensor = InferInput(f"in_{kind}", list(array.shape), kind)
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(**{"model_name": "digits", "request_id": "7", "infer_inputs": inputs, **options})


def check(response: Any) -> None:
    assert (response.model_name, response.id) == ("digits", "7")
    outputs = {output.name: output for output in response.outputs}
    assert set(outputs) == {f"out_{kind}" for kind in ARRAYS}
    for kind, array in ARRAYS.items():
        found = outputs[f"out_{kind}"].as_numpy()
        if kind == "BYTES":
            found = np.array([item.decode() if isinstance(item, bytes) else item for item in found], dtype=object)
        np.testing.assert_array_equal(found, array)


async def check_rest(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "digits")
    for binary in (True, False):
        parameters = {"binary_data_output": binary}
        check(await client.infer(url, request(binary=binary, parameters=parameters), model_name="digits"))
    calls = [client.infer(url, request(binary=True), model_name="digits") for _ in range(32)]
    for response in await asyncio.gather(*calls):
        check(response)
    with pytest.raises(httpx.HTTPStatusError, match="there is no model 'other'") as refusal:
        await client.infer(url, request(binary=True), model_name="other")
    assert refusal.value.response.status_code == 404
    await client.close()


async def check_grpc(url: str) -> None:
    async with InferenceGRPCClient(url, timeout=60) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits")
        for binary in (True, False):
            check(await client.infer(request(binary=binary)))
        for response in await asyncio.gather(*(client.infer(request(binary=True)) for _ in range(32))):
            check(response)
        with pytest.raises(grpc.aio.AioRpcError, match="there is no model 'other'") as refusal:
            await client.infer(request(binary=True, model_name="other"))
        assert refusal.value.code() is grpc.StatusCode.NOT_FOUND


async def main() -> None:
    http, rpc = (f"127.0.0.1:{port}" for port in sys.argv[1:])
    await check_rest(f"http://{http}")
    await check_grpc(rpc)


if __name__ == "__main__":
    asyncio.run(main())
