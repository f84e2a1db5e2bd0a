"""The bytes of inference requests, prepared once: REST with JSON or binary tensors, and gRPC."""

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgemodel_contract.serving import infer_path
from tests.bench.serving.load import post
from tests.bench.serving.models import BenchModel


def json_request(model: BenchModel) -> bytes:
    """As JSON, one row."""
    tensor = {
        "name": model.input_name,
        "shape": list(model.sample.shape),
        "datatype": "FP32",
        "data": model.sample.ravel().tolist(),
    }
    body = json.dumps({"inputs": [tensor]}).encode()
    return post(infer_path(model.name), body, {"content-type": "application/json"})


def binary_request(model: BenchModel, rows: int = 1, headers: dict[str, str] | None = None) -> bytes:
    """With the binary tensor extension, in both directions; ``rows`` copies of the sample."""
    data = np.repeat(model.sample, rows, axis=0)
    tensor = {
        "name": model.input_name,
        "shape": list(data.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": data.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return post(
        infer_path(model.name),
        header + data.tobytes(),
        {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(len(header)),
            **(headers or {}),
        },
    )


def rows_request(model: BenchModel, path: str, key: str) -> bytes:
    """JSON of a server with no protocol of its own: ``{key: [[…]]}``."""
    body = json.dumps({key: model.sample.tolist()}).encode()
    return post(path, body, {"content-type": "application/json"})


def grpc_message(name: str, input_name: str, data: NDArray[np.float32]) -> bytes:
    """A serialized ``inference.ModelInferRequest`` with raw contents.

    Written by hand (Protocol Buffers encoding, fields 1, 5 and 7), so that no server's generated code is part of the
    load program.
    """
    tensor = _text(1, input_name) + _text(2, "FP32") + _field(3, b"".join(map(_varint, data.shape)))
    return _text(1, name) + _field(5, tensor) + _field(7, data.tobytes())


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    def groups(rest: int) -> Iterable[int]:
        while rest > 0x7F:
            yield rest & 0x7F | 0x80
            rest >>= 7
        yield rest

    return bytes(groups(value))
