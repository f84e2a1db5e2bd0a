"""The command line as a person sees it: a table, a folder, one sentence when something is wrong."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgemodel_compressor.cli import arguments
from edgemodel_compressor.cli.commandline import run_commandline
from edgemodel_compressor.job import pipeline
from edgemodel_compressor.onnxmodel import modelfile
from edgemodel_compressor.onnxmodel.runtime import Session
from edgemodel_compressor.settings import Settings
from edgemodel_contract.card import ModelCard
from edgemodel_contract.encoding import decode
from edgemodel_contract.result import Success, decode_result
from tests.unit.compressor import builders, images, programs
from tests.unit.compressor.servers import RunningRegistry, free_port
from tests.unit.compressor.test_external_data import two_files

FILES = {"report.html", "model.onnx", "card.json", "report.json", "result.json"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def _no_docker_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def run(settings: Settings, *words: str | Path) -> int:
    return run_commandline(arguments.parse([str(word) for word in words]), settings)


def test_it_prints_a_table_and_writes_a_folder(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, shared / "conv.onnx", "--dataset", shared / "conv.npz", "-o", out, "--quantize", "static") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split() == ["method", "size", "as", "layer", "p50", "p95", "accuracy", "zeros", "verdict"]
    assert lines[1].split()[0] == "original"
    assert lines[2].startswith("*")
    assert lines[2].split()[1] == "static-int8"
    assert lines[2].endswith("chosen")
    assert "150 samples" in printed.out
    assert "evaluating static-int8" in printed.err
    assert {file.name for file in out.iterdir()} == FILES


def test_the_folder_is_what_the_image_would_hold_and_the_result_has_all_figures(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", shared / "mlp.npz", "-o", out, "--class-names", "a,b,c,d", "--name", "net")
    assert run(settings, shared / "mlp.onnx", *words) == 0
    card = decode((out / "card.json").read_bytes(), ModelCard)
    assert (card.name, card.labels) == ("net", ("a", "b", "c", "d"))
    for name, digest in card.files.items():
        assert images.sha256((out / name).read_bytes()) == digest
    result = decode_result((out / "result.json").read_text())
    assert isinstance(result, Success)
    assert result.model_digest == card.files["model.onnx"]
    methods = {result.chosen.method, *(item.method for item in result.others), "original"}
    assert methods >= {"original", "dynamic-int8", "static-int8"}
    # Where the floats with their zeros have lost too much, no integers are made of them.
    assert len(methods & {"prune-0.5", "prune-0.5+static-int8"}) == 1
    assert any(method.startswith("structured-0.5+recovered+") for method in methods)
    report = json.loads((out / "report.json").read_bytes())
    assert {item["method"] for item in report["candidates"]} == methods
    assert all(item["measured"]["latencyP50"] > 0 for item in report["candidates"])
    assert report["throughput"][0]["threads"] == 1
    assert all(item["original"] > 0 for item in report["throughput"])
    assert "Throughput by threads" in (out / "report.html").read_text()
    assert "inferences per second on 1" in capsys.readouterr().out
    assert sum(report["parts"].values()) == 300
    assert all(report["parts"].values())


def test_without_a_dataset_dynamic_quantization_is_tried_and_no_accuracy_claimed(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, shared / "mlp.onnx", "-o", out) == 0
    printed = capsys.readouterr().out
    assert "dynamic-int8" in printed
    assert "static-int8" not in printed
    assert "not measured, no dataset" in printed


def test_samples_without_labels_are_compared_with_the_original(
    settings: Settings, shared: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = builders.save_dataset(tmp_path / "d.npz", x=builders.blobs(60, (48,))[0])
    assert run(settings, shared / "mlp.onnx", "--dataset", data, "-o", out, "--quantize", "dynamic") == 0
    assert "equal to the original's, 30 samples" in capsys.readouterr().out


def test_limits_that_cannot_be_met_still_show_the_table_and_write_the_reports(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", shared / "mlp.npz", "-o", out, "--max-size", "1Ki")
    assert run(settings, shared / "mlp.onnx", *words) == 3
    printed = capsys.readouterr()
    assert "closest: size" in printed.out
    assert "came closest" in printed.err.splitlines()[-1]
    assert {file.name for file in out.iterdir()} == {"report.json", "report.html"}
    report = json.loads((out / "report.json").read_bytes())
    assert report["chosen"] is None
    assert report["closest"] in {item["method"] for item in report["candidates"]}
    assert any(item["best"] for item in report["candidates"] if "best" in item)
    assert "came closest" in (out / "report.html").read_text()


def test_an_earlier_result_is_replaced_as_a_whole(settings: Settings, shared: Path, out: Path) -> None:
    assert run(settings, shared / "mlp.onnx", "-o", out, "--mode", "None") == 0
    (out / "report.json").unlink()
    assert run(settings, shared / "mlp.onnx", "-o", out, "--prune", "0.5", "--prune-scope", "layer") == 0
    result = decode_result((out / "result.json").read_text())
    assert isinstance(result, Success)
    assert result.chosen.method == "prune-0.5-layer"
    assert {file.name for file in out.iterdir()} == FILES
    assert [entry for entry in out.parent.iterdir() if entry.name.startswith(".out")] == []


def test_an_interruption_while_the_folder_is_replaced_keeps_the_earlier_result(
    settings: Settings, shared: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(settings, shared / "mlp.onnx", "-o", out, "--mode", "None") == 0
    before = (out / "result.json").read_bytes()
    rename = Path.rename

    def interrupted(source: Path, target: Path) -> Path:
        if source.name == "new":
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, shared / "mlp.onnx", "-o", out, "--prune", "0.5")
    assert (out / "result.json").read_bytes() == before
    assert [entry for entry in out.parent.iterdir() if entry.name.startswith(".out")] == []


def test_a_folder_with_other_files_is_left_alone(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    assert run(settings, shared / "mlp.onnx", "-o", out) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["none.onnx"], 2, "does not exist"),
        (["SHARED/mlp.npz"], 2, "holds no model among its 2 files"),
        (["SHARED/mlp.onnx", "--dataset", "SHARED/conv.npz"], 2, "[300, 1, 12, 12]"),
        (["SHARED/mlp.onnx", "--quantize", "static"], 2, "calibrated on data: add --dataset"),
        (["SHARED/mlp.onnx", "--max-accuracy-drop", "1%"], 2, "maxAccuracyDrop is measured on data: add --dataset"),
        (["SHARED/mlp.onnx", "--sha256", "0" * 64], 2, "was expected"),
        (["SHARED/mlp.onnx", "--mode", "Manual"], 2, "mode Manual needs pruning or quantization"),
        (["SHARED/mlp.onnx", "--push", "UPPER", "--base-image", "x"], 2, "not a repository"),
        (["ftp://host/model.onnx"], 2, "use one of"),
    ],
)
def test_bad_input_is_one_sentence_and_no_folder(
    settings: Settings,
    shared: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    sentence: str,
) -> None:
    assert run(settings, *(word.replace("SHARED", str(shared)) for word in words), "-o", out) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("edgemodel-compress: ")
    assert sentence in error
    assert not out.exists()


def test_a_server_that_is_not_there_is_exit_code_one(
    settings: Settings, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, f"http://127.0.0.1:{free_port()}/m.onnx", "-o", out) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give a model and a folder"),
        (["m.onnx"], "give a model and a folder"),
        (["m.onnx", "-o", "out", "--max-size", "8 MB"], "write it like 8Mi"),
        (["m.onnx", "-o", "out", "--max-latency", "10"], "write it like 10ms"),
        (["m.onnx", "-o", "out", "--max-accuracy-drop", "1"], "write it like 1%"),
        (["m.onnx", "-o", "out", "--push", "host/a"], "go together"),
        (["m.onnx", "-o", "out", "--mode", "None", "--prune", "0.5"], "compresses nothing"),
        (["m.onnx", "-o", "out", "--input", "x:1,2"], "write it like tokens"),
        (["m.onnx", "-o", "out", "--input", "x:FLOAT:1,2"], "with a type of"),
        (["m.onnx", "-o", "out", "--colour"], "unrecognized"),
        (["m.onnx", "--task", "t.json"], "not both"),
    ],
)
def test_a_mistyped_option_is_one_sentence_and_exit_code_two(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments.parse(words)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert sentence in error


def test_shapes_the_file_leaves_open_can_be_given(
    settings: Settings, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = ["N", "features"]
    model = builders.model(
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    path = builders.save(model, tmp_path / "open.onnx")
    assert run(settings, path, "-o", out, "--mode", "None") == 2
    assert "state them in inputs" in capsys.readouterr().err
    assert run(settings, path, "-o", out, "--mode", "None", "--input", "x:FP32:1,7") == 0
    assert decode((out / "card.json").read_bytes(), ModelCard).inputs[0].shape == (1, 7)


def test_labels_may_be_in_a_file(settings: Settings, shared: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n\nbird\n")
    run(settings, shared / "mlp.onnx", "-o", out, "--mode", "None", "--class-names", tmp_path / "labels.txt")
    assert decode((out / "card.json").read_bytes(), ModelCard).labels == ("cat", "dog", "bird")


def test_the_result_can_be_pushed_as_an_image(
    settings: Settings, shared: Path, out: Path, registry: RunningRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    images.push_base(registry)
    words = ["--push", f"{registry.host}/desk/net", "--base-image", f"{registry.host}/base/server:v1"]
    words += ["--insecure-registry", registry.host]
    assert run(settings, shared / "mlp.onnx", "-o", out, "--mode", "None", *words) == 0
    result = decode_result((out / "result.json").read_text())
    assert isinstance(result, Success)
    assert result.image in capsys.readouterr().out
    layer = images.pull(registry, result.image).layers[-1]
    assert layer["edgemodel/model/model.onnx"][1] == (out / "model.onnx").read_bytes()
    # The desk's reports have what a clock measured, the image's only what is the same on every run.
    for name, clocked in (("report.json", b"latencyP50"), ("report.html", b"Median latency")):
        assert clocked in (out / name).read_bytes()
        assert clocked not in layer[f"edgemodel/model/{name}"][1]


def test_what_was_asked_for_but_cannot_be_done_is_said(
    settings: Settings, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = builders.model(
        [helper.make_node("Sin", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    path = builders.save(model, tmp_path / "sin.onnx")
    data = builders.save_dataset(tmp_path / "d.npz", x=np.eye(9, 4, dtype=np.float32))
    assert run(settings, path, "--dataset", data, "-o", out, "--quantize", "static") == 2
    assert "static-int8 is not possible" in capsys.readouterr().err
    assert run(settings, path, "--dataset", data, "-o", out) == 0
    printed = capsys.readouterr().out
    assert "static-int8 is not possible" in printed
    assert "original, unchanged" in printed


def test_a_torch_program_goes_the_whole_way(settings: Settings, out: Path, tmp_path: Path) -> None:
    program = programs.save_program(tmp_path / "net.pt2")
    values, labels = builders.blobs(60, (1, 8, 8), classes=3)
    data = builders.save_dataset(tmp_path / "d.npz", x=values, y=labels)
    words = ("--dataset", data, "-o", out, "--quantize", "dynamic", "--format", "exported-program")
    assert run(settings, program, *words) == 0
    card = decode((out / "card.json").read_bytes(), ModelCard)
    assert card.name == "net"
    assert card.provenance.source_digest == images.sha256(program.read_bytes())
    assert {"torch", "onnxscript"} <= set(card.provenance.libraries)


def test_another_format_than_stated_is_one_sentence_and_no_folder(
    settings: Settings, shared: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, shared / "mlp.onnx", "-o", out, "--format", "transformers") == 2
    assert "said to be Transformers" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_a_large_model_from_a_folder_keeps_its_weights_beside_it(
    settings: Settings, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelfile, "SINGLE_FILE_LIMIT", 1)
    folder = two_files(tmp_path / "net").parent
    for _ in range(2):
        assert run(settings, folder, "-o", out, "--mode", "None") == 0
        card = decode((out / "card.json").read_bytes(), ModelCard)
        (data,) = set(card.files) - FILES
        assert {file.name for file in out.iterdir()} == FILES | {data}
        for name, digest in card.files.items():
            assert images.sha256((out / name).read_bytes()) == digest
        values = builders.blobs(1, (48,))[0]
        one = builders.save(builders.mlp(), tmp_path / "one.onnx")
        assert np.array_equal(
            Session(out / "model.onnx", 1).run({"x": values})[0], Session(one, 1).run({"x": values})[0]
        )


def test_images_by_class_are_a_dataset(
    settings: Settings, shared: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in "abcd":
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{index}.png")
    words = ("--dataset", tmp_path / "data", "-o", out, "--quantize", "static")
    assert run(settings, shared / "conv.onnx", *words) == 0
    assert "8 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError(), "enough memory"), (OSError(errno.ENOSPC, "No space left"), "enough disk space")],
)
def test_when_memory_or_disk_runs_out_the_sentence_says_which(
    settings: Settings,
    shared: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
) -> None:
    def exhaust(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "load_source", exhaust)
    assert run(settings, shared / "mlp.onnx", "-o", out) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_a_regression_is_reported_by_its_error(
    settings: Settings, shared: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = builders.blobs(40, (48,))[0]
    data = builders.save_dataset(tmp_path / "d.npz", x=values, y=np.zeros((40, builders.CLASSES), np.float32))
    assert run(settings, shared / "mlp.onnx", "--dataset", data, "-o", out, "--mode", "None") == 0
    assert "mean squared error, less is better, 20 samples" in capsys.readouterr().out
    comparison = decode((out / "card.json").read_bytes(), ModelCard).comparison
    assert comparison.metric == "MSE"
    assert comparison.model_accuracy == comparison.source_accuracy
