"""Residual branches taken out from end to end: by hand, and by Auto where operators are small."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgemodel_compressor.cli import arguments
from edgemodel_compressor.cli.commandline import run_commandline
from edgemodel_compressor.settings import Settings
from tests.unit.compressor import builders


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return builders.save(builders.residual(), tmp_path / "net.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    values, labels = builders.blobs(400, (48,))
    return builders.save_dataset(tmp_path / "data.npz", x=values, y=labels)


def run(settings: Settings, *words: str | Path) -> int:
    return run_commandline(arguments.parse([str(word) for word in words]), settings)


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_by_hand_the_branches_that_change_least_go(settings: Settings, net: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(settings, net, "--dataset", data, "-o", out, "--prune-depth", "0.5") == 0
    assert result(out)["chosen"]["method"] == "depth-0.5"
    left = {tensor.name for tensor in onnx.load(out / "model.onnx").graph.initializer}
    assert left == {"w", "w0", "v0", "w1", "v1", "head", "offset"}


def test_channels_go_out_of_what_the_branches_have_left(
    settings: Settings, net: Path, data: Path, tmp_path: Path
) -> None:
    words = ["--prune-depth", "0.75", "--prune", "0.5", "--prune-method", "structured", "--recover", "2"]
    out = tmp_path / "out"
    assert run(settings, net, "--dataset", data, "-o", out, *words) == 0
    assert result(out)["chosen"]["method"] == "depth-0.75+structured-0.5+recovered"
    shapes = {tensor.name: tuple(tensor.dims) for tensor in onnx.load(out / "model.onnx").graph.initializer}
    assert set(shapes) == {"w", "w0", "v0", "head", "offset"}
    assert shapes["w0"][1] < 64


def test_zeros_and_branches_go_together(settings: Settings, net: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(settings, net, "--dataset", data, "-o", out, "--prune-depth", "0.25", "--prune", "0.5") == 0
    assert result(out)["chosen"]["method"] == "depth-0.25+prune-0.5"
    assert result(out)["chosen"]["measured"]["sparsity"] == pytest.approx(0.5, abs=0.01)


def test_auto_takes_branches_out_of_small_operators_and_says_the_same_again(
    settings: Settings, net: Path, data: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / name for name in ("once", "again")]
    for out in outs:
        assert run(settings, net, "--dataset", data, "-o", out) == 0
    # Which of them is chosen depends on the clock, too; what was built and how good it is does not.
    first, second = (json.loads((out / "report.json").read_text())["candidates"] for out in outs)
    tried = {item["method"]: (item["measured"]["size"], item["measured"]["accuracy"]) for item in first}
    assert any(method.startswith("depth-0.75+recovered") for method in tried)
    assert tried == {item["method"]: (item["measured"]["size"], item["measured"]["accuracy"]) for item in second}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--prune-depth", "0.05"], "so small a share of its 4 residual branches is less than one"),
        (["--prune-depth", "1.5"], "argument --prune-depth: '1.5' is not a share: write it like 50%"),
        (["--mode", "None", "--prune-depth", "0.5"], "leave out --prune, --prune-depth and --quantize"),
    ],
)
def test_what_cannot_be_taken_out_is_one_sentence(
    settings: Settings,
    net: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    try:
        code = run(settings, net, "--dataset", data, "-o", tmp_path / "out", *words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_without_branches_says_so(
    settings: Settings, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", shared / "mlp.npz", "-o", tmp_path / "out", "--prune-depth", "0.5")
    assert run(settings, shared / "mlp.onnx", *words) == 2
    assert "it has no residual branches that can be taken out" in capsys.readouterr().err


def test_without_samples_nothing_says_which_branches_matter(
    settings: Settings, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(settings, net, "-o", tmp_path / "out", "--prune-depth", "0.5") == 2
    assert "pruning.depth is measured on data: add --dataset" in capsys.readouterr().err
