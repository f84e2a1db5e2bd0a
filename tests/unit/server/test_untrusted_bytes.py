"""Whatever bytes arrive, the answer is a result or one of the server's own errors; never another exception."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.card import Comparison, ModelCard, Provenance
from edgemodel_contract.task import Preprocessing, Recipe, TensorSpec
from edgemodel_server.access.budget import Budget, Limits
from edgemodel_server.errors import BadRequestError, RequestError
from edgemodel_server.images.decode import ImageInput, image_tensors, read_headers
from edgemodel_server.images.forms import Upload, read_images
from edgemodel_server.protocol.open_inference import Signature, decode_request
from tests.unit.server.test_predict import picture

CARD = ModelCard(
    name="digits",
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)), TensorSpec(name="n", datatype="INT64", shape=(1,))),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
    files={},
    provenance=Provenance(
        source_uri="", source_digest="", task="", recipe=Recipe(), method="", engine="", libraries={}
    ),
    comparison=Comparison(source_size=1, model_size=1),
)
SIGNATURE = Signature.of(CARD)
VALID: dict[str, Any] = {
    "id": "a",
    "inputs": [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]},
        {"name": "n", "shape": [1], "datatype": "INT64", "data": [5]},
    ],
    "outputs": [{"name": "y"}],
    "parameters": {},
}
TARGET = ImageInput("image", "FP32", 3, 8, 8, Preprocessing())
PICTURES = [
    picture((12, 12), mode=mode, kind=kind)
    for mode, kind in [("L", "PNG"), ("P", "GIF"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("RGB", "BMP"), ("1", "PNG")]
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.sampled_from("xny"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(VALID)), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, the value itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], tuple(rest), new)}
    return [replaced(item, tuple(rest), new) if index == key else item for index, item in enumerate(value)]


@given(st.binary() | json_values.map(orjson.dumps))
def test_any_body_is_a_request_or_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        decode_request(body, None, SIGNATURE)


@given(st.sampled_from(paths(VALID)), json_values)
def test_a_request_with_anything_in_the_place_of_anything(path: tuple[Any, ...], new: Any) -> None:
    try:
        request = decode_request(orjson.dumps(replaced(VALID, path, new)), None, SIGNATURE)
    except BadRequestError as error:
        sentence = str(error)
    else:
        assert request.inputs["x"].dtype == np.float32
        assert request.inputs["x"].ndim == 2
        assert request.outputs == ("y",)
        return
    assert 0 < len(sentence) < 500


def test_the_untouched_request_is_read() -> None:
    request = decode_request(orjson.dumps(VALID), None, SIGNATURE)
    assert request.id == "a"
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]
    assert request.inputs["n"].tolist() == [5]


@given(st.sampled_from(PICTURES), st.data())
def test_a_damaged_image_is_an_image_or_refused(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 4)) if damaged else 0):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    uploads = [Upload("image[0]", bytes(damaged))]
    budget = Budget(Limits(memory=2**20, requests=1, decoding=1, connections=1))
    try:
        (tensor,) = image_tensors(uploads, read_headers(uploads, 10_000), TARGET, budget.lease("", 0))
    except RequestError as error:
        assert error.status in (400, 413, 415)  # noqa: PT017
    else:
        assert tensor.shape == (1, 3, 8, 8)
    # What is held at the end is the tensor, 3 × 8 × 8 floats.
    assert budget.memory.used in (0, 3 * 8 * 8 * 4)


@given(
    st.lists(
        st.sampled_from(
            [b"--b", b"\r\n", b"--", b"Content-Disposition: form-data; ", b'name="image"', b'; filename="f"']
        )
        | st.binary(max_size=8),
        max_size=12,
    )
)
def test_any_form_is_read_or_refused(parts: list[bytes]) -> None:
    try:
        uploads = read_images("multipart/form-data; boundary=b", b"".join(parts))
    except RequestError as error:
        assert error.status in (400, 413)  # noqa: PT017
        return
    assert uploads
