"""What is checked before a model is served."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemodel_contract.settings import read_settings
from edgemodel_contract.task import Preprocessing, TensorSpec
from edgemodel_server.errors import ModelError
from edgemodel_server.images.classifier import is_distribution
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.service import Model, load_model
from edgemodel_server.settings import Settings
from tests.unit.server.builders import ELEMENT_TYPES, brighter_side, identity, mlp, write_folder


def load(path: Path) -> Model:
    settings = read_settings(Settings, {"EDGEMODEL_MODEL_DIR": str(path)})
    return load_model(settings, Parallelism(threads=1, workers=1, spinning=False))


def edit_card(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((path / "card.json").read_bytes())
    change(card)
    (path / "card.json").write_text(json.dumps(card))


def test_a_folder_as_its_card_says_is_loaded(tmp_path: Path) -> None:
    model = load(write_folder(tmp_path, mlp()))
    assert model.engine.card.name == "digits"
    assert model.digest.startswith("sha256:")
    assert model.classifier is None


def test_a_changed_model_is_refused_with_both_digests(tmp_path: Path) -> None:
    write_folder(tmp_path, mlp())
    with (tmp_path / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ModelError, match=r"model\.onnx has digest sha256:\w{64} but its card says sha256:\w{64}"):
        load(tmp_path)


def test_every_listed_file_is_verified(tmp_path: Path) -> None:
    write_folder(tmp_path, mlp())
    (tmp_path / "report.json").write_text("{}")
    edit_card(tmp_path, lambda card: card["files"].update({"report.json": "sha256:" + "0" * 64}))
    with pytest.raises(ModelError, match=r"report\.json has digest"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside"])
def test_a_card_cannot_point_out_of_its_folder(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "model", mlp())
    edit_card(tmp_path / "model", lambda card: card["files"].update({name: "sha256:" + "0" * 64}))
    with pytest.raises(ModelError, match="not inside the folder"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("inputs"), "missing required field `inputs`"),
        (lambda card: card["files"].clear(), r"does not list model\.onnx"),
        (lambda card: card["files"].update({"gone": "sha256:0"}), "cannot read .*gone"),
    ],
)
def test_a_card_that_does_not_hold_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    edit_card(write_folder(tmp_path, mlp()), change)
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_no_card_says_which_setting(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="EDGEMODEL_MODEL_DIR"):
        load(tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    import hashlib

    write_folder(tmp_path, mlp())
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    digest = "sha256:" + hashlib.sha256(b"not a model").hexdigest()
    edit_card(tmp_path, lambda card: card["files"].update({"model.onnx": digest}))
    with pytest.raises(ModelError, match="cannot load"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"inputs": [TensorSpec(name="y", datatype="FP32", shape=(-1, 4))]}, r"has the inputs \['x'\] but"),
        ({"inputs": [TensorSpec(name="x", datatype="FP64", shape=(-1, 4))]}, "input 'x' .* is FP32 but .* FP64"),
        ({"inputs": [TensorSpec(name="x", datatype="FP32", shape=(-1, 5))]}, r"shape \['N', 4\] but .* \[-1, 5\]"),
        ({"inputs": [TensorSpec(name="x", datatype="FP32", shape=(-1, -1))]}, r"\[-1, -1\]"),
        ({"inputs": [TensorSpec(name="x", datatype="FP32", shape=(4,))]}, r"\[4\]"),
        ({"outputs": [TensorSpec(name="x", datatype="FP32", shape=(-1, 3))]}, r"has the outputs \['logits'\]"),
        ({"outputs": [TensorSpec(name="logits", datatype="FP32", shape=(-1, 9))]}, "output 'logits'"),
    ],
)
def test_a_card_of_another_model_is_refused(tmp_path: Path, specs: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(write_folder(tmp_path, mlp(), **specs))


def test_a_card_may_fix_what_the_model_leaves_open(tmp_path: Path) -> None:
    fixed = [TensorSpec(name="x", datatype="FP32", shape=(1, 4))]
    assert load(write_folder(tmp_path, mlp(), inputs=fixed)).engine.card.inputs[0].shape == (1, 4)


def test_labels_must_be_as_many_as_classes(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has 3 classes but its card has 2 labels"):
        load(write_folder(tmp_path, brighter_side(), labels=["left", "right"]))


@pytest.mark.parametrize("preprocessing", [Preprocessing(mean=(1.0, 2.0)), Preprocessing(std=(0.0,))])
def test_preprocessing_must_fit_the_channels(tmp_path: Path, preprocessing: Preprocessing) -> None:
    with pytest.raises(ModelError, match="preprocessing"):
        load(write_folder(tmp_path, brighter_side(3), preprocessing=preprocessing))


@pytest.mark.parametrize("without", ["BF16", "BYTES"])
def test_warm_up_covers_every_datatype_and_open_dimension(tmp_path: Path, without: str) -> None:
    """A model with both strings and bfloat16 is refused."""
    model = load(write_folder(tmp_path, identity(sorted(ELEMENT_TYPES.keys() - {without}), ["N", 2, "L"])))
    runs = model.profile.outputs
    assert len(runs) == 3
    assert all(output.shape == (1, 2, 1) for run in runs for output in run)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.3, 0.5], True),
        ([0.2, 0.3, 0.6], False),
        ([-0.5, 1.0, 0.5], False),
        ([2.0, -1.0], False),
        ([np.nan, 1.0], False),
        ([85 / 256, 85 / 256, 85 / 256], True),
    ],
)
def test_a_distribution_is_told_from_logits(values: list[float], expected: bool) -> None:
    assert is_distribution(np.array([values], dtype=np.float32)) is expected
