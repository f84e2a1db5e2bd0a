"""Fused attention: fewer operators, the same answers, or a refusal."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.fuse import TOLERANCE, fuse, keep_norms_apart
from edgemodel_compressor.graph.quantization.prepare import prepare
from edgemodel_compressor.onnxmodel.runtime import Session
from tests.unit.compressor import builders, transformers


@pytest.mark.parametrize("computed_shapes", [False, True])
def test_attention_becomes_one_operator_that_answers_the_same(computed_shapes: bool, tmp_path: Path) -> None:
    source = builders.save(transformers.encoder(computed_shapes), tmp_path / "encoder.onnx")
    fused = fuse(prepare(source, tmp_path), tmp_path, transformers.tokens())
    operators = [node.op_type for node in onnx.load(fused).graph.node]
    assert operators.count("Attention") == 1
    assert "Softmax" not in operators
    feed = transformers.tokens(batch=3, seed=1)
    before, after = (Session(path, 1).run(feed)[0] for path in (source, fused))
    assert np.abs(before - after).max() < TOLERANCE


def test_without_an_example_it_is_checked_on_made_up_inputs(tmp_path: Path) -> None:
    source = builders.save(transformers.encoder(), tmp_path / "encoder.onnx")
    assert fuse(prepare(source, tmp_path), tmp_path).exists()


def test_a_fusion_that_answers_differently_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = builders.save(transformers.encoder(), tmp_path / "encoder.onnx")
    monkeypatch.setattr("edgemodel_compressor.graph.fuse.TOLERANCE", -1.0)
    with pytest.raises(NotApplicableError, match="other answers"):
        fuse(prepare(source, tmp_path), tmp_path)


def test_a_model_without_attention_says_so(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="no attention"):
        fuse(prepare(shared / "mlp.onnx", tmp_path), tmp_path)


def test_norms_kept_apart_answer_exactly_the_same(tmp_path: Path) -> None:
    model = transformers.encoder()
    source = builders.save(model, tmp_path / "encoder.onnx")
    keep_norms_apart(model)
    assert [node.op_type for node in model.graph.node].count("Sum") == 2
    apart = builders.save(model, tmp_path / "apart.onnx")
    before, after = (Session(path, 1).run(transformers.tokens())[0] for path in (source, apart))
    assert np.abs(before - after).max() < 1e-5
