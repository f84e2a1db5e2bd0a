"""bfloat16, of which numpy knows nothing: the bits that clients send are computed, and come back."""

import subprocess
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgemodel_server.errors import ModelError
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.protocol.bfloat16 import from_bfloat16, to_bfloat16
from tests.unit.server.conftest import Serve
from tests.unit.server.test_binary import answered, binary
from tests.unit.server.test_commandline import save
from tests.unit.server.test_grpc import Open, client, tensor
from tests.unit.server.test_infer import INFER
from tests.unit.server.test_text_models import COMPRESS

__all__ = ["client"]

ROWS = np.array([[1, -2, 0.5, 3e38], [0, 1.5, -0.25, 7]], np.float32)


def halved() -> onnx.ModelProto:
    """``x`` (N, 4), bfloat16 → ``half``, bfloat16, and ``wide``, the same as FP32; ``count`` INT64 (N) goes through."""
    half = helper.make_tensor("c", TensorProto.FLOAT, [], [0.5])
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "c"], ["wide"]),
        helper.make_node("Cast", ["wide"], ["half"], to=TensorProto.BFLOAT16),
        helper.make_node("Identity", ["count"], ["same"]),
    ]
    inputs: list[tuple[str, int, list[int | str]]] = [
        ("x", TensorProto.BFLOAT16, ["N", 4]),
        ("count", TensorProto.INT64, ["N"]),
    ]
    outputs: list[tuple[str, int, list[int | str]]] = [
        ("half", TensorProto.BFLOAT16, ["N", 4]),
        ("wide", TensorProto.FLOAT, ["N", 4]),
        ("same", TensorProto.INT64, ["N"]),
    ]
    graph = helper.make_graph(
        nodes,
        "halved",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [half],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def bits(rows: Any) -> bytes:
    """The numbers as bfloat16, by another implementation than the server's: that of JAX and TensorFlow."""
    return bytes(rows.astype(ml_dtypes.bfloat16).tobytes())


def floats(content: bytes) -> Any:
    """What such bits stand for."""
    return np.frombuffer(content, ml_dtypes.bfloat16).astype(np.float32)


def request(rows: Any, **more: Any) -> dict[str, Any]:
    """A binary request of ``rows``."""
    content = bits(rows)
    inputs = [
        {"name": "x", "shape": rows.shape, "datatype": "BF16", "parameters": {"binary_data_size": len(content)}},
        {"name": "count", "shape": [len(rows)], "datatype": "INT64", "data": [7] * len(rows)},
    ]
    header = orjson.loads(orjson.dumps({"inputs": inputs, **more}, option=orjson.OPT_SERIALIZE_NUMPY))
    return binary(header, content)


async def test_bits_are_computed_and_come_back(serve: Serve) -> None:
    client = await serve(halved())
    metadata = (await client.get("/v2/models/digits")).json()
    assert [(item["name"], item["datatype"]) for item in metadata["outputs"]][:1] == [("half", "BF16")]
    header, content = answered(await client.post(INFER, **request(ROWS, parameters={"binary_data_output": True})))
    half, wide, same = header["outputs"]
    sizes = [item["parameters"]["binary_data_size"] for item in (half, wide)]
    # 3e38 is none of the numbers of bfloat16.
    sent = floats(bits(ROWS)).reshape(ROWS.shape)
    np.testing.assert_array_equal(floats(content[: sizes[0]]), (sent / 2).ravel())
    np.testing.assert_array_equal(np.frombuffer(content[sizes[0] : sum(sizes)], np.float32), (sent / 2).ravel())
    assert (half["datatype"], half["shape"], same["shape"]) == ("BF16", [2, 4], [2])


async def test_strings_beside_bfloat16_are_served_where_they_can_be(serve: Serve) -> None:
    def model(output: int) -> onnx.ModelProto:
        nodes = [helper.make_node("Cast", ["x"], ["y"], to=output), helper.make_node("Identity", ["text"], ["same"])]
        texts = [helper.make_tensor_value_info(name, TensorProto.STRING, ["N"]) for name in ("text", "same")]
        x = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["N"])
        graph = helper.make_graph(
            nodes, "g", [x, texts[0]], [helper.make_tensor_value_info("y", output, ["N"]), texts[1]]
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    client = await serve(model(TensorProto.FLOAT))
    inputs = [
        {"name": "x", "shape": [1], "datatype": "BF16", "data": [1.5]},
        {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]},
    ]
    outputs = (await client.post(INFER, json={"inputs": inputs})).json()["outputs"]
    assert [output["data"] for output in outputs] == [[1.5], ["a"]]
    with pytest.raises(ModelError, match="has inputs of strings \\(text\\) and outputs of bfloat16"):
        await serve(model(TensorProto.BFLOAT16))


async def test_rows_together_are_answered_as_each_alone_and_none_as_none(serve: Serve) -> None:
    client = await serve(halved(), {"EDGEMODEL_MAX_BATCH_SIZE": "8"})
    wanted = {"outputs": [{"name": "half", "parameters": {"binary_data": True}}]}
    _, together = answered(await client.post(INFER, **request(ROWS, **wanted)))
    alone = [answered(await client.post(INFER, **request(row[np.newaxis], **wanted)))[1] for row in ROWS]
    assert together == b"".join(alone)
    config = (await client.get("/v2/models/digits/config")).json()
    assert config["input"][0]["data_type"] == "TYPE_BF16"


async def test_json_has_the_nearest_numbers_and_classes_are_of_their_values(serve: Serve) -> None:
    client = await serve(halved())
    inputs = [
        {"name": "x", "shape": [1, 4], "datatype": "BF16", "data": [1, 2.01, -3, 0]},
        {"name": "count", "shape": [1], "datatype": "INT64", "data": [7]},
    ]
    answer = await client.post(INFER, json={"inputs": inputs, "outputs": [{"name": "half"}]})
    assert answer.json()["outputs"][0]["data"] == [0.5, 1.0078125, -1.5, 0]
    classes = [{"name": "half", "parameters": {"classification": 2}}]
    answer = await client.post(INFER, json={"inputs": inputs, "outputs": classes})
    assert [item.split(":")[1] for item in answer.json()["outputs"][0]["data"]] == ["1", "0"]
    inputs[0]["data"] = [1, 2, 3, 3.4e38]
    refused = await client.post(INFER, json={"inputs": inputs})
    assert (refused.status_code, refused.json()) == (400, {"error": "inputs[0].data[3] is out of the range of BF16"})


async def test_grpc_takes_and_gives_raw_contents(client: Open) -> None:
    async with client(halved()) as server:
        content = bits(ROWS[1:])
        message = pb.ModelInferRequest(
            model_name="digits",
            inputs=[tensor("x", "BF16", [1, 4]), tensor("count", "INT64", [1])],
            raw_input_contents=[content, bytes(8)],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="half")],
        )
        answer = await server.infer(message)
        np.testing.assert_array_equal(floats(answer.raw_output_contents[0]), ROWS[1] / 2)
        message.ClearField("raw_input_contents")
        assert "BF16 has no typed contents; use raw_input_contents" in str((await server.refusal(message)).details())


@given(st.lists(st.floats(width=32), min_size=0, max_size=8))
def test_rounding_is_that_of_another_implementation(values: list[float]) -> None:
    array = np.array(values, np.float32)
    theirs = array.astype(ml_dtypes.bfloat16)
    ours = from_bfloat16(to_bfloat16(array))
    np.testing.assert_array_equal(ours, theirs.astype(np.float32))


@pytest.mark.parametrize("mode", ["None", "Auto"])
def test_such_a_model_is_deployed_as_it_is_and_not_compressed(tmp_path: Path, mode: str) -> None:
    file = save(tmp_path / "halved.onnx", halved())
    arguments = [COMPRESS, str(file), "--mode", mode, "-o", str(tmp_path / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if mode == "None":
        assert done.returncode == 0, done.stderr
        card = orjson.loads((tmp_path / "out" / "card.json").read_bytes())
        assert card["inputs"][0] == {"name": "x", "datatype": "BF16", "shape": [-1, 4]}
    else:
        assert done.returncode == 2
        assert "The model's tensor 'x' is bfloat16, so it can be deployed, but not compressed; set" in done.stderr
