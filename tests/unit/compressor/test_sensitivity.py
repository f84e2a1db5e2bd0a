"""Which nodes 8 bits hurt, and how few of them go back to float."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration, calibrate
from edgemodel_compressor.graph.quantization.cpu import TargetCpu, target_cpu
from edgemodel_compressor.graph.quantization.mixed_precision import selection as mixed
from edgemodel_compressor.graph.quantization.mixed_precision.selection import mixed_precision
from edgemodel_compressor.graph.quantization.mixed_precision.sensitivity import noise_ratio, sensitivity
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.onnxmodel.runtime import Feed, Session
from tests.unit.compressor import builders

STATIC = QuantizationRecipe("Static")
FEEDS: list[Feed] = [{"x": builders.blobs(40, (32,), seed=3)[0][index : index + 1]} for index in range(40)]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Six products; between the third and the fourth one channel is a thousand times larger than the others."""
    rng = np.random.default_rng(1)
    weights = {f"w{index}": (rng.normal(size=(32, 32)) / np.sqrt(32)).astype(np.float32) for index in range(6)}
    weights["w2"][:, 5] *= 1000
    weights["w3"][5, :] /= 1000
    nodes = []
    for index in range(6):
        source, output = f"t{index}" if index else "x", f"t{index + 1}" if index < 5 else "y"
        nodes.append(helper.make_node("MatMul", [source, f"w{index}"], [output], name=f"product{index}"))
    model = builders.model(
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32])],
        weights=weights,
    )
    return builders.save(model, tmp_path / "chain.onnx")


def noise(source: Path) -> Callable[[Path], float]:
    truth = [Session(source, 1).run(feed)[0] for feed in FEEDS]
    return lambda path: noise_ratio(truth, [Session(path, 1, widened=True).run(feed)[0] for feed in FEEDS])


def test_both_ends_of_a_tensor_that_8_bits_cannot_hold_come_first(chain: Path, tmp_path: Path) -> None:
    calibration = calibrate(chain, FEEDS, tmp_path)
    ranking = sensitivity(chain, FEEDS[:16], STATIC, calibration, target_cpu("AVX512VNNI"), tmp_path)
    assert {item.node for item in ranking[:2]} == {"product2", "product3"}
    assert ranking[1].noise > 10 * ranking[2].noise
    assert all(item.measured for item in ranking)
    assert len(ranking) == 6


def test_only_as_many_as_asked_for_are_measured(chain: Path, tmp_path: Path) -> None:
    calibration = calibrate(chain, FEEDS, tmp_path)
    calls: list[None] = []
    ranking = sensitivity(
        chain, FEEDS[:4], STATIC, calibration, TargetCpu(), tmp_path, most=2, advance=lambda: calls.append(None)
    )
    assert [item.measured for item in ranking] == [True, True, False, False, False, False]
    assert len(calls) == 2
    assert "product3" in {item.node for item in ranking[:2]}


def test_the_damaging_nodes_go_back_to_float_and_no_others(chain: Path, tmp_path: Path) -> None:
    cpu = target_cpu("AVX512VNNI")
    calibration = calibrate(chain, FEEDS, tmp_path)
    ranking = [item.node for item in sensitivity(chain, FEEDS[:16], STATIC, calibration, cpu, tmp_path)]
    measure, target = noise(chain), tmp_path / "mixed.onnx"
    found = mixed_precision(
        chain, target, STATIC, ranking, lambda path: measure(path) < 1e-3, calibration, cpu, tmp_path
    )
    assert found.met
    assert set(found.recipe.excluded) == {"product2", "product3"}
    assert measure(target) < 1e-3
    types = {tensor.name: tensor.data_type for tensor in onnx.load(target).graph.initializer}
    assert types["w2"] == types["w3"] == TensorProto.FLOAT
    assert "w1" not in types


def test_an_objective_that_never_holds_ends(chain: Path, tmp_path: Path) -> None:
    calibration = calibrate(chain, FEEDS, tmp_path)
    ranking = [f"product{index}" for index in range(6)]
    target = tmp_path / "mixed.onnx"
    found = mixed_precision(chain, target, STATIC, ranking, lambda _: False, calibration, TargetCpu(), tmp_path)
    assert not found.met
    # All six would leave nothing to quantize.
    assert len(found.recipe.excluded) == 5
    assert target.exists()


def test_a_model_that_cannot_be_quantized_at_all_is_refused(chain: Path, tmp_path: Path) -> None:
    calibration = calibrate(chain, FEEDS, tmp_path)
    recipe = QuantizationRecipe("Static", excluded=tuple(f"product{index}" for index in range(6)))
    with pytest.raises(NotApplicableError):
        mixed_precision(
            chain, tmp_path / "mixed.onnx", recipe, ["x"], lambda _: True, calibration, TargetCpu(), tmp_path
        )


@given(nodes=st.integers(0, 40), needed=st.integers(0, 45), limit=st.integers(0, 40), trials=st.integers(1, 20))
def test_the_search_finds_the_fewest_within_its_budget(nodes: int, needed: int, limit: int, trials: int) -> None:
    """Over a model of which ``needed`` nodes must be float, and at most ``limit`` can be."""
    ranking = [str(index) for index in range(nodes)]
    built: list[int] = []

    def restore(
        _source: Path,
        _target: Path,
        recipe: QuantizationRecipe,
        chosen: list[str],
        _calibration: Calibration | None,
        _cpu: TargetCpu,
        _folder: Path,
    ) -> QuantizationRecipe:
        if len(chosen) > limit:
            raise NotApplicableError("nothing left")
        built.append(len(chosen))
        return replace(recipe, excluded=tuple(chosen))

    asked: list[int] = []

    def objective(_: Path) -> bool:
        asked.append(built[-1])
        return built[-1] >= needed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixed, "restore", restore)
        found = mixed_precision(Path("a"), Path("b"), STATIC, ranking, objective, None, TargetCpu(), Path(), trials)
    assert found.trials <= trials
    assert len(asked) == len(set(asked))
    assert found.met == any(count >= needed for count in asked)
    assert built[-1] == len(found.recipe.excluded)
    if found.met:
        assert len(found.recipe.excluded) == min(count for count in asked if count >= needed)
    if trials == 20:
        assert found.met == (needed <= min(nodes, limit))
        assert not found.met or len(found.recipe.excluded) == needed
