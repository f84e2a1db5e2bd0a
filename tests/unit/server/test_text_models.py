"""Models that take text, from the file to the answer: they cannot be compressed, and are deployed as they are."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.unit.server.test_commandline import answer_of, save, serving

COMPRESS = str(Path(sys.executable).with_name("edgemodel-compress"))


def sentiment() -> onnx.ModelProto:
    """``text`` BYTES (N) → ``class`` INT64 (N): 1 for good, 2 for bad, in any case, or else 0; and the text itself."""
    nodes = [
        helper.make_node("StringNormalizer", ["text"], ["word"], case_change_action="LOWER", locale="C"),
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["class"],
            domain="ai.onnx.ml",
            keys_strings=["good", "bad"],
            values_int64s=[1, 2],
            default_int64=0,
        ),
    ]
    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])
    outputs = [
        helper.make_tensor_value_info("class", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("word", TensorProto.STRING, ["N"]),
    ]
    graph = helper.make_graph(nodes, "g", [text], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def compress(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    file = save(folder / "sentiment.onnx", sentiment())
    arguments = [COMPRESS, str(file), "-o", str(folder / "out"), *words]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_text_passes_through_the_compressor_and_is_served(tmp_path: Path) -> None:
    done = compress(tmp_path, "--mode", "None")
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "out", "--port", "0") as (lines, _):
        assert answer_of(lines[-1])["outputs"][0]["data"] == [0]
        url = lines[-1].rpartition(" ")[2]
        body = '{"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": ["GOOD", "bad", "ugly"]}]}'
        outputs = answer_of(f"curl -H content-type:application/json -d '{body}' {url}")["outputs"]
        assert [output["data"] for output in outputs] == [[1, 2, 0], ["good", "bad", "ugly"]]


@pytest.mark.parametrize("mode", [[], ["--quantize", "dynamic"]])
def test_to_compress_it_is_refused_in_one_sentence(tmp_path: Path, mode: list[str]) -> None:
    done = compress(tmp_path, *mode)
    assert done.returncode == 2
    assert "The model's tensor 'text' holds strings, so it can be deployed, but not compressed; set" in done.stderr
    assert "Traceback" not in done.stderr
