"""Triton's classification extension: outputs as their largest values, by index and label."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgemodel_server.protocol.classification import classify
from edgemodel_server.protocol.datatypes import Array
from tests.unit.server.builders import identity
from tests.unit.server.conftest import Serve
from tests.unit.server.test_binary import LENGTH
from tests.unit.server.test_infer import INFER

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "count", "labels", "expected"),
    [
        ([[1.0, 5.0, 10.0, 4.0]], 2, [], [["10.000000:2", "5.000000:1"]]),
        ([[0.25, 0.75], [0.5, 0.125]], 1, ["cat", "dog"], [["0.750000:1:dog"], ["0.500000:0:cat"]]),
        ([1.0, 2.0, 3.0], 2, ["a", "b"], ["3.000000:2", "2.000000:1:b"]),
        ([[1, 1, 2, 2]], 9, [], [["2:2", "2:3", "1:0", "1:1"]]),
        ([[-(2**63), 2**63 - 1]], 2, [], [["9223372036854775807:1", "-9223372036854775808:0"]]),
        ([[NAN, -1.0, INF]], 2, [], [["inf:2", "-1.000000:1"]]),
        ([[False, True]], 1, [], [["1:1"]]),
        ([[[1.0], [3.0]], [[2.0], [0.0]]], 1, [], [["3.000000:1"], ["2.000000:0"]]),
        (7, 1, [], ["7:0"]),
    ],
)
def test_the_largest_of_each_row_come_first(values: Any, count: int, labels: list[str], expected: Any) -> None:
    assert classify(np.array(values), count, labels).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (0, 2**40)])
def test_nothing_has_no_classes(shape: tuple[int, ...]) -> None:
    found = classify(np.empty(shape, dtype=np.float32), 2, [])
    assert found.size == 0
    assert found.ndim == len(shape)


@given(arrays(np.int16, array_shapes(min_dims=2, max_dims=3)), st.integers(1, 12))
def test_it_agrees_with_sorting(array: Array, count: int) -> None:
    found = classify(array, count, [])
    for row, strings in zip(array.reshape(len(array), -1).tolist(), found.tolist(), strict=True):
        ranked = sorted(range(len(row)), key=lambda index: (-row[index], index))
        assert strings == [f"{row[index]}:{index}" for index in ranked[:count]]


def request(**parameters: Any) -> dict[str, Any]:
    inputs = [
        {"name": "in_FP32", "datatype": "FP32", "shape": [2, 3], "data": [1, 3, 2, 6, 4, 5]},
        {"name": "in_INT64", "datatype": "INT64", "shape": [2, 3], "data": [1, 3, 2, 6, 4, 5]},
        {"name": "in_BYTES", "datatype": "BYTES", "shape": [2, 3], "data": ["a"] * 6},
    ]
    return {"inputs": inputs, "outputs": [{"name": "out_FP32", "parameters": parameters}, {"name": "out_INT64"}]}


KINDS = identity(["FP32", "INT64", "BYTES"], ["N", 3])
LABELS = ["a", "b", "c"]
CLASSES = ["3.000000:1:b", "2.000000:2:c", "6.000000:0:a", "5.000000:2:c"]


async def test_over_rest_an_output_is_answered_as_classes_and_the_others_as_they_are(serve: Serve) -> None:
    server = await serve(KINDS, labels=LABELS)
    answer = (await server.post(INFER, json=request(classification=2))).json()
    classes = {"name": "out_FP32", "datatype": "BYTES", "shape": [2, 2], "data": CLASSES}
    assert answer["outputs"] == [
        classes,
        {"name": "out_INT64", "datatype": "INT64", "shape": [2, 3], "data": [1, 3, 2, 6, 4, 5]},
    ]
    response = await server.post(INFER, json=request(classification=2, binary_data=True))
    length = int(response.headers[LENGTH])
    (output, _) = orjson.loads(response.content[:length])["outputs"]
    content = b"".join(len(item).to_bytes(4, "little") + item.encode() for item in CLASSES)
    assert output["datatype"] == "BYTES"
    assert output["parameters"] == {"binary_data_size": len(content)}
    assert response.content[length:] == content


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2", None, [2], 2**31])
async def test_over_rest_a_wrong_number_of_classes_is_refused_by_the_field(serve: Serve, value: Any) -> None:
    server = await serve(KINDS)
    response = await server.post(INFER, json=request(classification=value))
    assert response.status_code == 400
    assert "outputs[0].parameters.classification is " in response.json()["error"]


async def test_strings_have_no_largest(serve: Serve) -> None:
    server = await serve(KINDS)
    wanted = [{"name": "out_BYTES", "parameters": {"classification": 1}}]
    response = await server.post(INFER, json={**request(), "outputs": wanted})
    assert response.status_code == 400
    assert "outputs[0].parameters.classification is not for output 'out_BYTES'" in response.json()["error"]
