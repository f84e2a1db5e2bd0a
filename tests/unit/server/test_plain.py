"""Plain requests are read faster than others, and in no other way."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgemodel_contract.task import TensorSpec
from edgemodel_server.protocol.open_inference import Signature, decode_request
from edgemodel_server.protocol.plain import MAX_PLAIN_BYTES, decode_plain

SPECS = {
    "x": TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),
    "d": TensorSpec(name="d", datatype="FP64", shape=(2,)),
}
SIGNATURE = Signature("digits", SPECS, {"y": SPECS["x"]})
X = '{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2.5]}'
D = '{"name":"d","shape":[2],"datatype":"FP64","data":[-1e300,9007199254740993]}'
VALID = f'{{"id":"7","inputs":[{X},{D}]}}'

numbers = st.floats(-3e38, 3e38) | st.integers(-(2**70), 2**70) | st.sampled_from([-0.0, 1e-320, 16777217])
NUMBERS = ["0", "-0", "-0.0", "1e39", "1e309", "01", "1.", "+1", "0.1e1", "1E-400", "NaN", "-Infinity", "2147483648"]
TOKENS = [
    "",
    " ",
    "\n",
    "\x0b",
    ",",
    ":",
    "-",
    '"',
    '"1"',
    "true",
    "null",
    "[1,2]",
    "[]",
    "{}",
    "é",
    "\\u003a",
    "\\",
    "\x00",
]
MEMBERS = ['"name":"x",', '"id":"8",', '"inputs":[],', '"data":[3,4],', '"parameters":{},', '"outputs":[],', X, f",{D}"]


def is_plain(body: bytes) -> bool:
    """Whether it is; then what is read of it is what is read with something more that has no effect."""
    plain = decode_plain(body, SPECS)
    if plain is None:
        return False
    identifier, inputs = plain
    other = body.rstrip()[:-1] + b',"parameters":{}}'
    assert decode_plain(other, SPECS) is None
    expected = decode_request(other, None, SIGNATURE)
    assert identifier == expected.id
    assert list(inputs) == list(expected.inputs)
    for name, array in inputs.items():
        assert array.dtype == expected.inputs[name].dtype
        assert array.shape == expected.inputs[name].shape
        np.testing.assert_array_equal(array, expected.inputs[name])
    return True


@given(st.lists(numbers, min_size=2, max_size=6).filter(lambda found: len(found) % 2 == 0), numbers, st.data())
def test_a_request_with_floats_and_perhaps_an_id_is_plain(
    rows: list[float], number: float, data: st.DataObject
) -> None:
    inputs = [
        {"name": "x", "shape": [len(rows) // 2, 2], "datatype": "FP32", "data": rows},
        {"datatype": "FP64", "data": [number, -number], "shape": [2], "name": "d"},
    ]
    request = {"inputs": data.draw(st.permutations(inputs))} | data.draw(st.sampled_from([{}, {"id": "é"}]))
    text = json.dumps(request, ensure_ascii=False, indent=data.draw(st.sampled_from([None, 2])))
    assert is_plain(f" {text}\n".encode())


@given(st.integers(0, len(VALID)), st.integers(0, 8), st.sampled_from([*NUMBERS, *TOKENS, *MEMBERS]))
@example(1, 0, '"id":"8",')
@example(VALID.index('"id":"7",'), len('"id":"7",'), '"inputs":[],')
def test_with_anything_in_any_place_it_is_read_as_any_other(begin: int, length: int, piece: str) -> None:
    is_plain((VALID[:begin] + piece + VALID[begin + length :]).encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"7"', '"a:b"'),
        ('"7"', '"\\u003a","id":"8"'),
        ('"7"', '"7","id":"8"'),
        ('"7"', "null"),
        ('"7"', '"\ud800"'),
        ('"x"', '"\\u0078"'),
        ('"x"', '"d"'),
        ('"FP32"', '"FP64"'),
        ("[1,2]", "[true,2]"),
        ("[1,2]", "[2,2]"),
        ("[1,2.5]", "[[1,2.5]]"),
        ("[1,2.5]", "[1,1e39]"),
        ("[1,2.5]", "[1,true]"),
        ("[1,2.5]", "[1,NaN]"),
        ("[1,2.5]", "[1,1e400]"),
        (f",{D}", ""),
        (f",{D}", f",{X}"),
        (f",{D}", f",{D}" + " " * MAX_PLAIN_BYTES),
    ],
)
def test_what_is_not_certain_to_be_plain_is_left_to_others(old: str, new: str) -> None:
    assert is_plain(VALID.encode())
    assert decode_plain(VALID.replace(old, new).encode("utf-8", "surrogatepass"), SPECS) is None


def test_other_types_than_floats_are_left_to_others() -> None:
    body = b'{"inputs":[{"name":"n","shape":[1],"datatype":"INT64","data":[1]}]}'
    assert decode_plain(body, {"n": TensorSpec(name="n", datatype="INT64", shape=(1,))}) is None
