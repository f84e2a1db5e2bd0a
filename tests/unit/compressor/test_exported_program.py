"""torch.export programs: what is read, and how each way to run code or to read too much out of one is refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.formats.exported_program import convert
from edgemodel_compressor.formats.pt2_archive import check_program, rewrite
from edgemodel_compressor.onnxmodel.runtime import Session
from tests.unit.compressor import programs

MODEL, SAMPLES, WEIGHTS = "models/model.json", "data/sample_inputs/model.pt", "data/weights/model_weights_config.json"
Files = dict[str, bytes]


class Exploit:
    """Pickles to a call of ``os.mkdir``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    path = programs.save_program(tmp_path_factory.mktemp("program") / "m.pt2")
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(f"m/{name}", content)
    return path


def fail(path: Path, limit: int = 10**9) -> TaskError:
    with pytest.raises(TaskError) as caught:
        rewrite(path, path.with_name("checked.pt2"), limit)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


def change(files: Files, edit: Callable[[dict[str, Any]], None], name: str = MODEL) -> Files:
    content = json.loads(files[name])
    edit(content)
    return files | {name: json.dumps(content).encode()}


def graph(content: dict[str, Any]) -> dict[str, Any]:
    return content["graph_module"]["graph"]  # type: ignore[no-any-return]


def rename(content: dict[str, Any], name: str) -> None:
    """Call the input ``x`` something else, everywhere."""
    text = json.dumps(content).replace('"x"', json.dumps(name))
    content.clear()
    content.update(json.loads(text))


def test_nothing_but_checked_data_is_left_for_torch_to_read(tmp_path: Path, files: Files) -> None:
    rewrite(write(tmp_path / "m.pt2", files), tmp_path / "checked.pt2", 10**9)
    with zipfile.ZipFile(tmp_path / "checked.pt2") as archive:
        assert archive.read(f"m/{SAMPLES}") == b""
        content = json.loads(archive.read(f"m/{MODEL}"))
        assert archive.read("m/data/weights/weight_0") == files["data/weights/weight_0"]
    assert all(node["metadata"] == {} for node in graph(content)["nodes"])
    assert content["guards_code"] == []


def test_pickled_sample_inputs_are_never_unpickled(tmp_path: Path, files: Files) -> None:
    marker = tmp_path / "ran"
    stream = io.BytesIO()
    torch.save(((Exploit(marker),), {}), stream)
    path = write(tmp_path / "m.pt2", files | {SAMPLES: stream.getvalue()})
    target, difference = convert(path, 1, tmp_path, 10**9)
    assert not marker.exists()
    assert difference < 1e-5
    assert target.exists()


def test_pickled_weights_and_custom_objects_are_refused(tmp_path: Path, files: Files) -> None:
    def pickled(content: dict[str, Any]) -> None:
        next(iter(content["config"].values()))["use_pickle"] = True

    assert "never unpickled" in fail(write(tmp_path / "m.pt2", change(files, pickled, WEIGHTS))).message

    def opaque(content: dict[str, Any]) -> None:
        content["config"]["offset"]["path_name"] = "opaque_obj_0"

    name = "data/constants/model_constants_config.json"
    evil = change(files, opaque, name) | {"data/constants/opaque_obj_0": pickle.dumps(Exploit(tmp_path / "ran"))}
    assert "never unpickled" in fail(write(tmp_path / "m.pt2", evil)).message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save",
        "torch.ops.mylib.op.default",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "math.factorial",
        "#custom:op",
        "builtins.eval",
    ],
)
def test_operators_beyond_aten_are_refused(tmp_path: Path, files: Files, target: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        graph(content)["nodes"][0]["target"] = target

    error = fail(write(tmp_path / "m.pt2", change(files, edit)))
    assert (error.reason, target in error.message) == ("UnsupportedModel", True)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').mkdir('ran')",
        "Symbol('s0').__class__",
        "[x for x in ()]",
        "lambda: 0",
        "Symbol('a b')",
        "9**9**9",
        "Pow(Integer(9), Pow(Integer(9), Integer(9)))",
        "LShift(Integer(1), Integer(99999999999))",
        "factorial(99999)",
        "Integer(" + "9" * 400 + ")",
        "1 +" * 600 + "1",
        "(" * 500 + ")" * 500,
    ],
)
def test_shape_expressions_are_arithmetic_and_nothing_else(tmp_path: Path, files: Files, expression: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        graph(content)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = expression

    assert "shape expression" in fail(write(tmp_path / "m.pt2", change(files, edit))).message


@pytest.mark.parametrize(
    "expression", ["Symbol('s77', positive=True, integer=True)", "2*s0 + 1", "FloorDiv(s0, Integer(2))", "Pow(s0, 2)"]
)
def test_what_torch_writes_as_a_shape_passes(files: Files, expression: str) -> None:
    content = json.loads(files[MODEL])
    graph(content)["tensor_values"]["x"]["sizes"][0]["as_expr"]["expr_str"] = expression
    assert check_program(content) is content


def test_a_name_that_would_become_code_is_refused(tmp_path: Path, files: Files) -> None:
    name = "x=__import__('os').mkdir('ran')"
    error = fail(write(tmp_path / "m.pt2", change(files, lambda content: rename(content, name))))
    assert "where a name belongs" in error.message


def test_guards_are_dropped_because_they_are_code(tmp_path: Path, files: Files) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["guards_code"] = ["__import__('os').mkdir('ran')"]

    rewrite(write(tmp_path / "m.pt2", change(files, edit)), tmp_path / "checked.pt2", 10**9)
    assert b"mkdir" not in (tmp_path / "checked.pt2").read_bytes()


def test_containers_that_would_import_something_are_refused(tmp_path: Path, files: Files) -> None:
    def edit(content: dict[str, Any]) -> None:
        spec = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
        content["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec

    error = fail(write(tmp_path / "m.pt2", change(files, edit)))
    assert (error.reason, "collections.defaultdict" in error.message) == ("UnsupportedModel", True)


def test_a_tensor_larger_than_allowed_is_not_made(tmp_path: Path, files: Files) -> None:
    def edit(content: dict[str, Any]) -> None:
        meta = next(iter(content["config"].values()))["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 10**12}], [{"as_int": 0}]

    assert "10000000000" in fail(write(tmp_path / "m.pt2", change(files, edit, WEIGHTS))).message


def test_other_archives_are_sentences(tmp_path: Path, files: Files) -> None:
    path = tmp_path / "m.pt2"
    assert "compressed" in fail(write(path, files, zipfile.ZIP_DEFLATED)).message
    assert fail(write(path, files), limit=100).reason == "SourceTooLarge"
    assert "older or a compiled one" in fail(write(path, files | {"data/aotinductor/m/m.so": b"ELF"})).message
    without = {name: content for name, content in files.items() if name != "data/weights/weight_0"}
    assert "damaged or cut short" in fail(write(path, without)).message
    assert "damaged or cut short" in fail(write(path, files | {MODEL: b"{"})).message
    whole = write(path, files).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged or cut short" in fail(path).message


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_json_is_a_sentence_or_passes(content: Any) -> None:
    reason = None
    try:
        check_program(content if isinstance(content, dict) else {"graph": content})
    except TaskError as error:
        reason = error.reason
    assert reason in (None, "InvalidModel", "UnsupportedModel")


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    target, _ = convert(programs.save_program(tmp_path / "m.pt2", programs.Pair()), 1, tmp_path, 10**9)
    tokens, weights = torch.tensor([[1, 2, 3, 4, 5]]), torch.rand(1, 5)
    wanted = programs.Pair().eval()(tokens, weights)
    got = Session(target, 1).run({"tokens": tokens.numpy(), "weights": weights.numpy()})
    assert [array.shape for array in got] == [(1, 4), (1, 5, 4)]
    assert abs(got[0] - wanted["sum"].detach().numpy()).max() < 1e-5


def test_half_precision_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(4, 2).half(), (torch.zeros(1, 4).half(),))
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(TaskError, match="float16; save it in single precision") as caught:
        convert(tmp_path / "m.pt2", 1, tmp_path, 10**9)
    assert caught.value.reason == "UnsupportedModel"
