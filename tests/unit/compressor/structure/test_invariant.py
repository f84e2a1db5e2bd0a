"""On every architecture, by either exporter, at old and new opsets: zeros and smaller tensors give the same outputs."""

from functools import cache
from itertools import product

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemodel_compressor.graph.cost import macs, parameters
from edgemodel_compressor.graph.structure import Analysis, Scope, analyse, magnitude, mask, remove, select
from tests.architectures import NAMES, Exporter, example, export, opsets
from tests.unit.compressor.structure.running import CASES, EXPORTERS, chance, run

LEFT_AT_HALF = {
    "resnet18": 0.3,
    "resnet26": 0.3,
    "vgg11": 0.3,
    "vgg11_bn": 0.3,
    "densenet": 0.32,
    "inception": 0.35,
    "mobilenet_v2": 0.35,
    "unet": 0.3,
    "mlp": 0.4,
    # What the residual stream, the embeddings and the norms hold stays.
    "bert": 0.65,
    "gpt2": 0.65,
    "vit": 0.65,
    "lstm": 0.35,
}
"""The share of parameters that may be left when half of the units go."""


@cache
def analysed(name: str, exporter: Exporter, opset: int) -> tuple[onnx.ModelProto, Analysis]:
    proto = export(name, exporter, opset)
    return proto, analyse(proto)


@pytest.mark.parametrize(("name", "exporter", "opset"), CASES)
@settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])
@given(
    sparsity=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
    multiple=st.sampled_from([1, 4, 8]),
    scope=st.sampled_from(["Global", "Layer"]),
)
def test_masking_and_removing_give_the_same_outputs(
    name: str, exporter: Exporter, opset: int, sparsity: float, seed: int, multiple: int, scope: Scope
) -> None:
    proto, analysis = analysed(name, exporter, opset)
    scores = chance(analysis, seed)
    selection = select(analysis, scores, sparsity, scope=scope, multiple=multiple)
    smaller = remove(proto, selection)
    onnx.checker.check_model(smaller, full_check=True)
    expected = run(mask(proto, selection), example(name))
    np.testing.assert_allclose(run(smaller, example(name)), expected, rtol=0, atol=1e-4 * max(0.1, abs(expected).max()))
    assert smaller.graph.input == proto.graph.input
    assert smaller.graph.output == proto.graph.output
    if selection.removed:
        assert parameters(smaller) < parameters(proto)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "vit", "vgg11"])
def test_it_holds_for_any_batch_where_the_batch_is_open(name: str, exporter: Exporter) -> None:
    fixed, closed = analysed(name, exporter, opsets(name, exporter)[-1])
    proto = export(name, exporter, opsets(name, exporter)[-1], open_batch=True)
    analysis = analyse(proto)
    assert [group.units for group in analysis.groups] == [group.units for group in closed.groups]
    selection = select(analysis, chance(analysis, 0), 0.5, multiple=4)
    masked, smaller = mask(proto, selection), remove(proto, selection)
    assert parameters(smaller) < 0.8 * parameters(fixed)
    for batch in (1, 5):
        feed = {key: np.repeat(array[:1], batch, axis=0) for key, array in example(name).items()}
        np.testing.assert_allclose(run(smaller, feed), run(masked, feed), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "exporter"), list(product(NAMES, EXPORTERS)))
def test_half_of_the_units_are_a_meaningful_share_of_the_model(name: str, exporter: Exporter) -> None:
    proto, analysis = analysed(name, exporter, opsets(name, exporter)[-1])
    smaller = remove(proto, select(analysis, magnitude(proto, analysis), 0.5))
    shapes = {key: array.shape for key, array in example(name).items()}
    assert parameters(smaller) <= LEFT_AT_HALF[name] * parameters(proto)
    assert macs(smaller, shapes) < 0.75 * macs(proto, shapes)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "vit"])
def test_heads_and_feed_forward_units_of_every_layer_can_go(name: str, exporter: Exporter) -> None:
    _, analysis = analysed(name, exporter, opsets(name, exporter)[-1])
    assert sorted(group.units for group in analysis.groups if group.units in (6, 128)) == [6, 6, 128, 128]
    for group in analysis.groups:
        if group.units == 6:
            output = group.slices[-1]
            assert output.indices.tolist() == [list(range(8 * head, 8 * head + 8)) for head in range(6)]
            assert sum(part.indices.shape[1] for part in group.slices if part.axis == 1) == 3 * 8


def test_channels_of_residual_stages_go_together() -> None:
    _, analysis = analysed("resnet18", "dynamo", 23)
    stem = analysis.group("stem.0.weight")
    assert {(part.tensor, part.axis) for part in stem.slices} >= {
        ("stem.0.weight", 0),
        ("blocks.0.body.0.weight", 1),
        ("blocks.0.body.3.weight", 0),
        ("blocks.1.body.3.weight", 0),
        ("blocks.2.shortcut.0.weight", 1),
    }
    assert stem.units == 16


def test_a_channel_before_a_flatten_is_a_run_of_columns() -> None:
    _, analysis = analysed("vgg11", "torchscript", 17)
    last = next(part for group in analysis.groups for part in group.slices if part.tensor == "classifier.0.weight")
    assert last.axis == 1
    assert last.indices.tolist() == [list(range(4 * channel, 4 * channel + 4)) for channel in range(64)]


@pytest.mark.parametrize(("exporter", "units"), [("torchscript", [32, 32, 32, 128]), ("dynamo", [32, 32, 128])])
def test_every_layer_of_an_lstm_has_hidden_units(exporter: Exporter, units: list[int]) -> None:
    """The embedding's, those of either layer, and those after them; the states that torch fills with zeros go along.

    The current exporter gives both layers one state to begin with, so that their units go together.
    """
    _, analysis = analysed("lstm", exporter, opsets("lstm", exporter)[-1])
    assert [group.units for group in analysis.groups] == units


def test_what_a_layer_norm_runs_over_is_kept_and_named() -> None:
    _, analysis = analysed("gpt2", "dynamo", 23)
    assert "LayerNormalization" in analysis.kept["blocks.0.attention.output.bias"]
