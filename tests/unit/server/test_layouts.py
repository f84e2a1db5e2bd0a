"""JSON that was read before says of other raw bytes what it would say if it were read again."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError
from edgemodel_server.protocol.layouts import MAX_LAYOUT_BYTES, MAX_LAYOUTS
from edgemodel_server.protocol.open_inference import InferRequest, Signature, decode_request

DATATYPES: tuple[Datatype, ...] = ("FP32", "INT64", "BOOL", "BYTES")
SPECS = {kind: TensorSpec(name=kind, datatype=kind, shape=(-1,)) for kind in DATATYPES}
SIZES = {"FP32": 4, "INT64": 8, "BOOL": 1, "BYTES": 5}


def signature(kinds: list[Datatype]) -> Signature:
    return Signature("digits", {kind: SPECS[kind] for kind in kinds}, {"y": SPECS["FP32"], "z": SPECS["FP32"]})


def read(header: bytes, raw: bytes, by: Signature) -> InferRequest | str:
    """The request, or why it is none."""
    try:
        return decode_request(header + raw, len(header), by)
    except BadRequestError as error:
        return str(error)


def same(one: InferRequest | str, other: InferRequest | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    assert one.of({}) == other.of({})
    assert list(one.inputs) == list(other.inputs)
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        np.testing.assert_array_equal(array, other.inputs[name])
    return True


@st.composite
def headers(draw: st.DrawFn) -> tuple[list[Datatype], bytes, int]:
    """Inputs of some types, their JSON, and how many raw bytes it announces."""
    kinds: list[Datatype] = draw(st.lists(st.sampled_from(DATATYPES), min_size=1, unique=True))
    inputs: list[dict[str, Any]] = []
    announced = 0
    for kind in kinds:
        count = draw(st.integers(0, 3))
        tensor: dict[str, Any] = {"name": kind, "datatype": kind, "shape": [count]}
        if draw(st.integers(0, 3)):
            size = count * SIZES[kind] + draw(st.sampled_from([0, 0, 0, 0, 1]))
            announced += size
            inputs.append(tensor | {"parameters": {"binary_data_size": size}})
        else:
            inputs.append(tensor | {"data": [{"BOOL": True, "BYTES": "a"}.get(kind, 1)] * count})
    options: dict[str, Any] = draw(
        st.sampled_from(
            [
                {},
                {"id": "7"},
                {"parameters": {"timeout": 5, "binary_data_output": True}},
                {"outputs": [{"name": "z", "parameters": {"classification": 1}}]},
            ]
        )
    )
    return kinds, orjson.dumps({"inputs": inputs} | options), announced


@given(headers(), st.lists(st.sampled_from([-1, 0, 0, 0, 0, 1]), min_size=2, max_size=5), st.data())
def test_what_was_read_before_is_read_as_for_the_first_time(
    given_header: tuple[list[Datatype], bytes, int], lengths: list[int], data: st.DataObject
) -> None:
    kinds, header, announced = given_header
    known = signature(kinds)
    for extra in lengths:
        size = max(0, announced + extra)
        raw = data.draw(st.binary(min_size=size, max_size=size) | st.just(bytes(size)))
        assert same(read(header, raw, known), read(header, raw, signature(kinds)))


@pytest.mark.parametrize(("count", "padding", "kept"), [(1, 0, 1), (MAX_LAYOUTS + 1, 0, 1), (1, MAX_LAYOUT_BYTES, 0)])
def test_no_more_is_kept_than_there_is_room_for(count: int, padding: int, kept: int) -> None:
    known = signature(["FP32"])
    tensor = {"name": "FP32", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    for number in range(count):
        header = orjson.dumps({"inputs": [tensor], "id": str(number)}) + b" " * padding
        assert isinstance(read(header, bytes(4), known), InferRequest)
    assert len(known.layouts) == kept
