"""Long JSON, read and written piece by piece: the same as in one piece, and charged before it is there."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError, TooLargeError
from edgemodel_server.protocol import jsons, long_lists, open_inference, tensors
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.open_inference import InferRequest, Signature, decode_request, encode_response


class Account:
    """Memory of ``limit`` bytes, that knows the most that was ever held."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit, self.held, self.most = limit, 0, 0

    def hold(self, size: int) -> None:
        if self.held + size > self.limit:
            raise TooLargeError(f"{self.held + size} bytes")
        self.held += size
        self.most = max(self.most, self.held)

    def release(self, size: int) -> None:
        self.held -= size


def signature(datatype: Datatype, dimensions: int) -> Signature:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1,) * dimensions)
    return Signature("digits", {"x": spec}, {"y": TensorSpec(name="y", datatype=datatype, shape=(-1,) * dimensions)})


def result(call: Callable[[], InferRequest]) -> Any:
    """Id, inputs and outputs of the request that was read; None: a bad one."""
    try:
        request = call()
    except BadRequestError:
        return None
    return request.id, request.outputs, [(array.dtype, array.tolist()) for array in request.inputs.values()]


shapes = st.lists(st.integers(0, 4), min_size=1, max_size=3)
leaves = st.integers(-300, 300) | st.floats(allow_nan=False, allow_infinity=False) | st.just(1e39)
odd = st.sampled_from(
    [
        b"null",
        b"true",
        b"[]",
        b"[1]",
        b'"a,b"',
        b'"]"',
        b"{}",
        b'{"data":[1,2]}',
        b"NaN",
        b"01",
        b"1.",
        b"1 2",
        b"",
        b"1e999",
    ]
)


def nested(flat: list[bytes], shape: list[int]) -> bytes:
    if not shape:
        return flat.pop(0)
    return b"[" + b" ,".join(nested(flat, shape[1:]) for _ in range(shape[0])) + b"]"


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[int], bytes]:
    """A shape, and a list that may have it."""
    shape = draw(shapes)
    count = int(np.prod(shape))
    items = [orjson.dumps(item) for item in draw(st.lists(leaves, min_size=count, max_size=count))]
    is_odd, is_nested = draw(st.tuples(st.booleans(), st.booleans()))
    if items and is_odd:
        items[draw(st.integers(0, count - 1))] = draw(odd)
    content = nested(items[:], shape) if is_nested else b"[" + b",".join(items) + b"]"
    if draw(st.integers(0, 5)) == 0 and len(content) > 2:
        at = draw(st.integers(1, len(content) - 1))
        instead: bytes = draw(st.sampled_from([b"", b"[", b"]", b",", b" ", b"1"]))
        content = content[:at] + instead + content[at + 1 :]
    return shape, content


@given(
    lists(),
    st.sampled_from(["FP32", "INT8", "INT64", "BOOL", "FP16", "BYTES"]),
    st.sampled_from([b"", b',"data":[1,2,3,4]', b',"parameters":{"a:b":1}', b',"name":"x"']),
    st.sampled_from(
        [b"", b',"id":"a:b"', b',"inputs":[]', b',"other":[1,2,3,4]', b',"id":5', b',"outputs":[{"name":"y"}]']
    ),
    st.integers(4, 40),
)
def test_long_json_is_read_as_any_other(
    given_list: tuple[list[int], bytes], datatype: Datatype, in_tensor: bytes, in_request: bytes, piece: int
) -> None:
    shape, content = given_list
    body = b'{"inputs":[{"name":"x","datatype":"%b","shape":%b,"data":%b%b}]%b}' % (
        datatype.encode(),
        orjson.dumps(shape),
        content,
        in_tensor,
        in_request,
    )
    by = signature(datatype, len(shape))
    expected = result(lambda: decode_request(body, None, by))
    with pytest.MonkeyPatch.context() as patch:
        for module in (jsons, long_lists):
            # Longer than any number here.
            patch.setattr(module, "PIECE_BYTES", 30 + piece)
        patch.setattr(open_inference, "SHORT_BYTES", 1)
        patch.setattr(long_lists, "MIN_BYTES", 4)
        account = Account()
        assert result(lambda: decode_request(memoryview(body), None, by, account)) == expected


def body_of(count: int, datatype: Datatype = "FP32", number: bytes = b"1.5") -> bytes:
    data = b",".join([number] * count)
    return b'{"inputs":[{"name":"x","shape":[%d],"datatype":"%b","data":[%b]}]}' % (count, datatype.encode(), data)


@pytest.mark.parametrize("number", [b"1.5", b"1", b"-123456.789e-3"])
def test_a_long_list_takes_what_was_charged_and_little_more(number: bytes) -> None:
    body, account = body_of(300_000, number=number), Account()
    decode_request(body_of(20_000), None, signature("FP32", 1), Account())
    tracemalloc.start()
    request = decode_request(body, None, signature("FP32", 1), account)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert request.inputs["x"].size == 300_000
    assert account.held == request.inputs["x"].nbytes
    assert taken <= account.most + 3 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"k%d":0' % number for number in range(30_000)) + b"}",
        b'{"inputs":[' + b",".join([b"{}"] * 50_000) + b"]}",
        b'{"inputs":[' + b",".join([b"[]"] * 50_000) + b"]}",
        b'{"outputs":[' + b",".join([b"0.5"] * 50_000) + b"]}",
        b'{"inputs":' + body_of(50_000) + b"}",
        body_of(50_000, "BYTES", b'"ab"'),
        b'{"id":"' + b"a" * 1_000_000 + "\U0001f600".encode() + b'","inputs":[]}',
        b'{"inputs":[' + b",".join([b'{"data":[0.5,0.5]}'] * 20_000) + b"]}",
    ],
)
def test_what_makes_many_objects_is_charged_before_they_are_there(body: bytes) -> None:
    account = Account(1_000_000)
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        decode_request(body, None, signature("BYTES", 1), account)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken <= 1_500_000


@given(
    st.lists(st.floats(width=32) | st.just(0.0), min_size=1, max_size=30),
    st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]),
)
def test_a_long_answer_is_written_as_any_other(values: list[float], datatype: Datatype) -> None:
    with np.errstate(invalid="ignore"):
        array: Array = (
            np.array(values, np.float32).astype(NUMPY[datatype] if datatype != "BYTES" else str).astype(NUMPY[datatype])
        )
    by, account = signature(datatype, 1), Account()
    short = encode_response(by, "7", ["y"], [array]).parts
    with pytest.MonkeyPatch.context() as patch:
        for module in (tensors, open_inference):
            patch.setattr(module, "SHORT_ELEMENTS", 3)
        long = encode_response(by, "7", ["y"], [array], memory=account).parts
    assert orjson.loads(b"".join(long)) == orjson.loads(b"".join(short))
    assert account.held > 0


def test_an_answer_ends_where_the_memory_does() -> None:
    array = np.full(200_000, 1.5, np.float32)
    with pytest.raises(TooLargeError):
        encode_response(signature("FP32", 1), None, ["y"], [array], memory=Account(400_000))
