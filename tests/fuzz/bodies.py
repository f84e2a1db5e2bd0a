"""Random requests: valid ones, damaged a little or a lot."""

import gzip
import zlib
from random import Random
from typing import Any, NamedTuple

import numpy as np
import orjson

from edgemodel_contract.task import Datatype
from tests.unit.server.test_predict import picture

INFER = "/v2/models/digits/infer"
PREDICT = "/predict"
DATATYPES: tuple[Datatype, ...] = ("FP32", "INT64", "BYTES", "BOOL", "FP16")
"""The inputs ``in_<datatype>`` of the model, each of shape (N)."""

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        2**31,
        2**63,
        -(2**63),
        1e308,
        "",
        "x",
        "é",
        "a:b",
        "\u0000",
        [],
        [[]],
        {},
        [None],
    ),
    *({"a": 1}, [1] * 50, [[1, 2], [3]], "x" * 3000, [{"name": "in_FP32"}], {"binary_data_size": 8}, 2**62),
)
_ODD_BYTES = (
    b"NaN",
    b"Infinity",
    b"-",
    b"\xff\xfe",
    b"\\ud800",
    b"1e999",
    b'"a":1,"a":2,',
    b"[" * 1500,
    b"{" * 1500,
    b"\x00",
)
_HEADERS = (
    *(("content-type", value) for value in ("text/plain", "application/json", "multipart/form-data; boundary=x", "")),
    *(("content-encoding", value) for value in ("gzip", "deflate", "br", "identity", "gzip, gzip")),
    *(("accept-encoding", value) for value in ("gzip", "deflate;q=0.5", "*", ";;q=x", "gzip;q=nan")),
    *(("inference-header-content-length", value) for value in ("0", "1", "17", "99999999", "-1", "x", "")),
    *(("x-request-timeout", value) for value in ("0", "5", "nan", "inf", "-3", "x")),
)


class Request(NamedTuple):
    """What to send."""

    path: str
    headers: dict[str, str]
    body: bytes


def valid_infer(random: Random) -> tuple[dict[str, Any], list[bytes]]:
    """An inference request, and the raw bytes that follow it."""
    count = random.randrange(4)
    arrays: dict[str, Any] = {
        "FP32": np.array([random.uniform(-9, 9) for _ in range(count)], dtype=np.float32),
        "INT64": np.array([random.randrange(-(2**63), 2**63) for _ in range(count)], dtype=np.int64),
        "BOOL": np.array([random.random() < 0.5 for _ in range(count)], dtype=np.bool_),
        "FP16": np.array([random.uniform(-9, 9) for _ in range(count)], dtype=np.float16),
        "BYTES": [random.choice(["", "a", "é", "a:b"]) for _ in range(count)],
    }
    inputs, raw = [], []
    for datatype in random.sample(DATATYPES, len(DATATYPES)):
        array = arrays[datatype]
        entry: dict[str, Any] = {"name": f"in_{datatype}", "datatype": datatype, "shape": [count]}
        if random.random() < 0.5:
            encoded = [item.encode() for item in array] if datatype == "BYTES" else []
            content = b"".join(len(item).to_bytes(4, "little") + item for item in encoded) or (
                b"" if datatype == "BYTES" else array.tobytes()
            )
            entry["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        else:
            entry["data"] = array if datatype == "BYTES" else array.tolist()
        inputs.append(entry)
    request: dict[str, Any] = {"id": "7", "inputs": inputs, "parameters": {"timeout": 5_000_000}}
    if random.random() < 0.3:
        request["outputs"] = [{"name": "out_INT64", "parameters": {"binary_data": random.random() < 0.5}}]
    return request, raw


def infer(random: Random) -> Request:
    """An inference request, valid one time in ten."""
    request, raw = valid_infer(random)
    damage = random.randrange(10)
    for _ in range(random.randrange(1, 3) if damage in (1, 2, 3, 4) else 0):
        request = _replaced(request, random)
    header = orjson.dumps(request, option=orjson.OPT_NON_STR_KEYS)
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))}
    if not raw:
        headers = {"content-type": "application/json"}
    body = header + b"".join(raw)
    if damage in (5, 6, 7):
        body = damaged(body, random)
    if damage in (7, 8):
        name, value = random.choice(_HEADERS)
        headers[name] = value
    if damage == 9:
        coding = random.choice(["gzip", "deflate"])
        headers["content-encoding"] = coding
        body = gzip.compress(body, 1) if coding == "gzip" else zlib.compress(body, 1)
        if random.random() < 0.5:
            body = damaged(body, random)
    path = (
        INFER
        if random.random() < 0.97
        else random.choice(["/v2/models/x/infer", f"{INFER}/", "/v2/models/digits/versions/2/infer"])
    )
    return Request(path, headers, body)


PICTURES = [
    picture((12, 12), mode=mode, kind=kind)
    for mode, kind in [("L", "PNG"), ("P", "GIF"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("RGB", "BMP"), ("1", "PNG")]
]


def predict(random: Random) -> Request:
    """Images, bare or in a form, mostly damaged."""
    content = random.choice(PICTURES)
    if random.random() < 0.8:
        content = damaged(content, random)
    if random.random() < 0.5:
        return Request(PREDICT, {"content-type": random.choice(["image/png", "image/webp", "image/x"])}, content)
    name = random.choice(["image", "file", ""])
    form = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
        + content
        + b"\r\n--b--\r\n"
    )
    if random.random() < 0.3:
        form = damaged(form, random)
    query = random.choice(["", "?top_k=2", "?top_k=x", "?top_k=", "?" + "a=b&" * 40])
    return Request(PREDICT + query, {"content-type": "multipart/form-data; boundary=b"}, form)


def damaged(content: bytes, random: Random) -> bytes:
    """Cut, with bytes changed, with something odd put in, or another part repeated."""
    damage = bytearray(content)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(damage) + 1)
        match random.randrange(5):
            case 0:
                del damage[at:]
            case 1 if at < len(damage):
                damage[at] = random.randrange(256)
            case 2:
                damage[at:at] = random.choice(_ODD_BYTES)
            case 3:
                damage[at:at] = damage[at : at + random.randrange(40)]
            case _:
                del damage[at : at + random.randrange(1, 9)]
    return bytes(damage)


def _replaced(value: Any, random: Random) -> Any:
    """``value`` with something odd somewhere in it."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(sorted(value))
        if random.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _replaced(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        index = random.randrange(len(value))
        return [*value[:index], _replaced(value[index], random), *value[index + 1 :]]
    return random.choice(_ODD)
