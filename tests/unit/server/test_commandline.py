"""``edgemodel-serve MODEL``: what a person at a desk types, in a real process, with a real curl."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from edgemodel_contract.card import CARD_FILE, MODEL_FILE
from edgemodel_server.errors import ModelError
from edgemodel_server.model.bare import open_file
from tests.unit.server.builders import brighter_side, identity, mlp, write_folder
from tests.unit.server.test_predict import picture
from tests.unit.server.test_process import DEADLINE

SERVE = str(Path(sys.executable).with_name("edgemodel-serve"))


@contextmanager
def serving(*arguments: str | Path, env: dict[str, str] | None = None) -> Iterator[tuple[list[str], str]]:
    """The lines that it prints when it is ready; after the block, what it said on stderr is complete."""
    process = subprocess.Popen(
        [SERVE, *map(str, arguments)], env=env or {}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    try:
        assert process.stdout
        assert process.stderr
        said.append(process.stderr.readline())
        while not said[-1].startswith("{") and said[-1]:
            said.append(process.stderr.readline())
        lines = [process.stdout.readline()]
        while lines[-1] and not lines[-1].startswith("  curl") and not lines[-1].startswith("  (printf"):
            lines.append(process.stdout.readline())
        assert lines[-1], said
        yield [line.rstrip("\n") for line in lines], said[-1]
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def answer_of(command: str) -> dict[str, Any]:
    """What the shell command prints, which is JSON."""
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=DEADLINE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refusal(*arguments: str | Path) -> str:
    done = subprocess.run(
        [SERVE, *map(str, arguments)], env={}, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 2
    return done.stderr


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_a_bare_file_is_served_and_the_curl_that_it_prints_works(tmp_path: Path) -> None:
    with serving(save(tmp_path / "tiny.onnx", mlp()), "--port", "0") as (lines, ready):
        assert lines[0] == "tiny is ready"
        assert json.loads(ready)["admin_port"] is None
        page = next(line.split()[1] for line in lines if line.startswith("  page"))
        assert page.startswith("http://127.0.0.1:")
        assert httpx.get(page).status_code == 200
        answer = answer_of(lines[-1])
        assert answer["model_name"] == "tiny"
        assert answer["outputs"][0]["shape"] == [1, 3]


def test_a_large_input_is_sent_as_zeros_in_binary(tmp_path: Path) -> None:
    file = save(tmp_path / "it's large.onnx", brighter_side(3, 64))
    with serving(file, "--port", "0") as (lines, _):
        assert "/dev/zero" in lines[-1]
        assert answer_of(lines[-1])["outputs"][0]["data"] == [0, 0, 0]


def test_a_folder_that_was_compressed_is_served_by_its_card(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", mlp(), name="digits")
    for name in ("report.json", "report.html", "result.json"):
        (tmp_path / "out" / name).write_text("{}")
    with serving(tmp_path / "out", "--port", "0") as (lines, _):
        assert lines[0] == "digits is ready"
        assert answer_of(lines[-1])["model_name"] == "digits"


def test_a_folder_with_one_model_and_labels_is_served(tmp_path: Path) -> None:
    save(tmp_path / "sides.onnx", brighter_side())
    (tmp_path / "labels.txt").write_text("left\nright\nneither\n")
    with serving(tmp_path, "--port", "0") as (lines, _):
        url = next(line.split()[1] for line in lines if line.startswith("  page")).rstrip("/")
        answer = httpx.post(f"{url}/predict", files={"image": ("x.png", picture(bright="left"))})
        assert answer.json()["label"] == "left"


def test_it_says_on_stderr_that_it_made_a_card(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [SERVE, str(save(tmp_path / "tiny.onnx", mlp())), "--port", "0"],
        env={},
        stderr=subprocess.PIPE,
        text=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        assert process.stderr
        lines = [process.stderr.readline() for _ in range(2)]
    finally:
        process.kill()
        process.communicate()
    assert "edgemodel-serve: tiny.onnx has no card; one was made from the file: inputs x; images as pixel" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.onnx"], "there is no nothing.onnx; give an .onnx file, or a folder that edgemodel-compress wrote"),
        (["--port", "http"], "argument --port: give a number from 0 to 65534"),
        (["--port", "65535"], "argument --port: give a number"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(arguments: list[str], sentence: str) -> None:
    assert sentence in refusal(*arguments)


def test_folders_without_a_model_or_with_several_are_refused(tmp_path: Path) -> None:
    assert f"has neither {CARD_FILE} nor an .onnx file" in refusal(tmp_path)
    save(tmp_path / "a.onnx", mlp())
    save(tmp_path / "b.onnx", mlp())
    assert "has 2 .onnx files; name one of them" in refusal(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"no model")
    assert "cannot load" in refusal(tmp_path / "a.onnx")
    # A folder with a card is held to it, as in a cluster.
    folder = write_folder(tmp_path / "out", mlp())
    (folder / MODEL_FILE).write_bytes(b"changed")
    assert "its card says" in refusal(folder)


def with_metadata(model: onnx.ModelProto, **properties: str) -> onnx.ModelProto:
    helper.set_model_props(model, properties)
    return model


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("['a', 'b', 'c']", ("a", "b", "c")),
        ('["a", "b", "c"]', ("a", "b", "c")),
        ("{0: 'a', 1: 'b', 2: 'c'}", ("a", "b", "c")),
        ('{"0": "a", "1": "b", "2": "c"}', ("a", "b", "c")),
        ("['a', 'b']", ()),
        ("__import__('os').getcwd()", ()),
        ("[" * 1000, ()),
        ("", ()),
        ("[1, 2, 3]", ()),
    ],
)
def test_labels_of_the_metadata_are_read_as_data(tmp_path: Path, text: str, labels: Sequence[str]) -> None:
    folder = open_file(save(tmp_path / "m.onnx", with_metadata(mlp(), names=text)))
    assert folder.card.labels == labels


def test_the_layout_is_found_where_the_channels_can_only_be_last(tmp_path: Path) -> None:
    for layout in ("NCHW", "NHWC"):
        folder = open_file(save(tmp_path / "m.onnx", brighter_side(3, 8, layout)))
        assert folder.card.preprocessing.layout == layout


def test_an_output_that_is_no_tensor_is_refused_with_its_name(tmp_path: Path) -> None:
    node = helper.make_node("SequenceConstruct", ["x"], ["s"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    s = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [s]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    with pytest.raises(ModelError, match=r"output 's' of .* is seq\(tensor\(float\)\): the Open Inference Protocol"):
        open_file(save(tmp_path / "m.onnx", model))


def test_models_of_every_datatype_have_a_card(tmp_path: Path) -> None:
    folder = open_file(save(tmp_path / "m.onnx", identity(["BOOL", "BYTES", "INT8", "FP16"], ["N", 2])))
    assert [(spec.datatype, spec.shape) for spec in folder.card.inputs] == [
        ("BOOL", (-1, 2)),
        ("BYTES", (-1, 2)),
        ("INT8", (-1, 2)),
        ("FP16", (-1, 2)),
    ]
