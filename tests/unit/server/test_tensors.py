"""JSON becomes exactly the tensor it stands for, or a BadRequestError; never another exception."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError
from edgemodel_server.protocol.datatypes import NUMPY
from edgemodel_server.protocol.tensors import decode_tensor, json_elements

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)
datatypes = st.sampled_from(sorted(NUMPY.keys() - {"BF16"}))


def tensor_spec(datatype: Datatype, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=shape)


def elements(datatype: Datatype) -> Any:
    if datatype == "BYTES":
        return st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5)
    if datatype in ("FP16", "FP32", "FP64"):
        width = {"FP16": 16, "FP32": 32, "FP64": 64}[datatype]
        return st.floats(allow_nan=False, allow_infinity=False, width=width)  # type: ignore[arg-type]
    return None


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Datatype, np.ndarray[Any, np.dtype[Any]]]:
    datatype: Datatype = draw(datatypes)
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    return datatype, draw(hnp.arrays(NUMPY[datatype], shape, elements=elements(datatype)))


@given(arrays(), st.booleans())
def test_every_tensor_survives_the_way_through_json(
    given_array: tuple[Datatype, np.ndarray[Any, np.dtype[Any]]], nested: bool
) -> None:
    datatype, array = given_array
    data = array.tolist() if nested and array.ndim else json_elements(array)
    wire = orjson.loads(orjson.dumps({"shape": array.shape, "data": data}, option=orjson.OPT_SERIALIZE_NUMPY))

    spec = tensor_spec(datatype, (-1,) * array.ndim)
    decoded = decode_tensor(spec, datatype, wire["shape"], wire["data"], "x")

    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@given(datatypes, st.lists(st.integers(-1, 4), max_size=3), json_values, json_values)
def test_any_json_gives_a_fitting_tensor_or_a_bad_request(
    datatype: Datatype, model_shape: list[int], shape: Any, data: Any
) -> None:
    spec = tensor_spec(datatype, tuple(model_shape))
    try:
        decoded = decode_tensor(spec, datatype, shape, data, "inputs[0]")
    except BadRequestError as error:
        message = str(error)
    else:
        assert list(decoded.shape) == shape
        assert decoded.dtype == NUMPY[datatype]
        return
    assert message.startswith("inputs[0].")


@given(
    datatypes,
    st.lists(st.integers(-(2**64), 2**64) | st.integers(0, 3), min_size=2, max_size=2),
    st.lists(st.booleans() | st.integers(-300, 300) | st.floats() | st.text(max_size=2), max_size=6),
)
def test_any_numbers_in_the_right_places_give_a_tensor_or_a_bad_request(
    datatype: Datatype, shape: list[int], data: list[Any]
) -> None:
    try:
        decoded = decode_tensor(tensor_spec(datatype, (-1, -1)), datatype, shape, data, "x")
    except BadRequestError:
        return
    assert decoded.size == len(data)
    assert decoded.ravel().tolist() == [decoded.dtype.type(item) if datatype != "BYTES" else item for item in data]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP32", [3], [1, 2, 3], "x.shape has 1 dimensions; the model takes [-1, 2]"),
        ("FP32", [1, 3], [1, 2, 3], "x.shape[1] is 3; the model takes [-1, 2]"),
        ("FP32", [-1, 2], [1, 2], "x.shape[0] is -1"),
        ("FP32", [2**40, 2], [1, 2], f"x.shape[0] is {2**40}"),
        ("FP32", [True, 2], [1, 2], "x.shape is [True, 2]"),
        ("FP32", "1,2", [1, 2], "x.shape is '1,2'"),
        ("FP32", [1, 2], [1], "x.data has 1 elements; shape [1, 2] has 2"),
        ("FP32", [2, 2], [[1, 2], [3]], "x.data is nested but not as shape [2, 2]: see dimension 1"),
        ("FP32", [2, 2], [[1, 2], 3], "x.data is nested but not as shape [2, 2]: see dimension 1"),
        ("FP32", [1, 2], [[[1], [2]]], "x.data[0] is a list; the datatype is FP32"),
        ("FP32", [1, 2], [1, None], "x.data[1] is null; the datatype is FP32"),
        ("FP32", [1, 2], [1, "2"], "x.data[1] is a string"),
        ("FP32", [1, 2], [1, True], "x.data[1] is true/false"),
        ("FP32", [1, 2], [1, 1e39], "x.data[1] is out of the range of FP32"),
        ("FP16", [1, 2], [65519, 65520], "x.data[1] is out of the range of FP16"),
        ("FP32", [1, 2], {"0": 1}, "x.data is {'0': 1}; give a list"),
        ("INT64", [1, 2], [1, 2.0], "x.data[1] is a number with a fraction"),
        ("UINT8", [1, 2], [1, 256], "x.data has an element out of the range of UINT8"),
        ("UINT8", [1, 2], [1, -1], "x.data has an element out of the range of UINT8"),
        ("BOOL", [1, 2], [0, 1], "x.data[0] is an integer; the datatype is BOOL"),
        ("BYTES", [1, 2], ["a", 1], "x.data[1] is an integer; the datatype is BYTES"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(datatype: Datatype, shape: Any, data: Any, message: str) -> None:
    with pytest.raises(BadRequestError) as refusal:
        decode_tensor(tensor_spec(datatype, (-1, 2)), datatype, shape, data, "x")
    assert message in str(refusal.value)


def test_another_datatype_than_the_models_is_refused() -> None:
    with pytest.raises(BadRequestError, match=r"x\.datatype is 'FP64'; the model takes FP32"):
        decode_tensor(tensor_spec("FP32", (1,)), "FP64", [1], [1.0], "x")
