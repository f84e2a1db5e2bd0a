"""Data and models that nothing can be told from, as somebody at a desk gives them: one sentence, exit 2, no folder."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgemodel_compressor.cli import arguments
from edgemodel_compressor.cli.commandline import run_commandline
from edgemodel_compressor.settings import Settings
from tests.unit.compressor import builders

X = np.random.default_rng(3).normal(size=(40, 48)).astype(np.float32)
LABELS = np.arange(40) % builders.CLASSES
SENTENCE = re.compile(r"edgemodel-compress: [A-Z\w].*[;:,] .*\.")


def holed(hole: float) -> NDArray[np.float32]:
    """X with one number that is none."""
    values = X.copy()
    values[7, 3] = hole
    return values


def refused(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    arrays: dict[str, Any],
    *words: str,
) -> str:
    """The sentence."""
    np.savez(tmp_path / "data.npz", **arrays)
    out = tmp_path / "out"
    options = [str(model), "--dataset", str(tmp_path / "data.npz"), "-o", str(out), *words]
    assert run_commandline(arguments.parse(options), settings) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert not out.exists()
    last = printed.err.splitlines()[-1]
    assert SENTENCE.fullmatch(last), last
    return last


@pytest.mark.parametrize(
    ("arrays", "words", "said"),
    [
        ({"x": X[:1]}, (), "sample"),
        ({"x": X[:0]}, (), "sample"),
        ({"x": np.repeat(X[:1], 40, axis=0)}, (), "all of its samples are equal"),
        ({"x": holed(np.nan)}, (), "NaN or infinite"),
        ({"x": holed(np.inf)}, (), "NaN or infinite"),
        ({"x": X, "y": LABELS + 3}, (), "label"),
        ({"x": X, "y": LABELS[:30]}, (), "30"),
        ({"x": X, "y": np.full((40, 5), 0.5)}, (), "label"),
        ({"x": X, "y": np.where(np.arange(40) == 4, np.nan, 1.0)}, (), "NaN"),
        ({"x": X}, ("--judge", "boxes:boxes:2%"), "names the output 'boxes', which the model does not have"),
        ({"x": X}, ("--judge", "y:top1:2%"), "y"),
        ({"x": X}, ("--metric", "top1"), "label"),
    ],
    ids=[
        "one sample", "none", "all equal", "NaN", "infinite", "labels beyond the classes", "fewer labels than samples",
        "labels of other shapes", "NaN among labels", "an output that does not exist", "a metric without labels",
        "accuracy without labels",
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", [(), ("--quantize", "static")], ids=["auto", "manual"])
def test_data_that_says_nothing(
    settings: Settings,
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arrays: dict[str, Any],
    words: tuple[str, ...],
    said: str,
    mode: tuple[str, ...],
) -> None:
    assert said in refused(settings, tmp_path, capsys, shared / "mlp.onnx", arrays, *words, *mode)


@pytest.mark.parametrize("mode", [(), ("--quantize", "dynamic"), ("--mode", "None")], ids=["auto", "manual", "none"])
def test_a_model_with_dropout_left_on(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: tuple[str, ...]
) -> None:
    proto = builders.model(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Dropout", ["h", "ratio", "on"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 48])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64])],
        {
            "w": np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32),
            "ratio": np.array(0.5, np.float32),
            "on": np.array(True),
        },
    )
    model = builders.save(proto, tmp_path / "dropout.onnx")
    said = refused(settings, tmp_path, capsys, model, {"x": X}, *mode)
    assert "answers one sample in two ways" in said
