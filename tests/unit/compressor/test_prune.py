"""Magnitude pruning: exactly the asked share, exactly the smallest, and nothing but weights."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.prune import keep_mask, prune
from edgemodel_compressor.graph.weights import float_weights, sparsity
from edgemodel_contract.task import Pruning
from tests.unit.compressor import builders

MAGNITUDES = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(0, 10, width=32))


def arrays(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@given(MAGNITUDES, st.floats(0.01, 0.99))
def test_the_mask_removes_exactly_the_share_and_never_a_larger_before_a_smaller(
    magnitudes: NDArray[np.float32], share: float
) -> None:
    keep = keep_mask(magnitudes, share)
    assert np.count_nonzero(~keep) == round(share * magnitudes.size)
    if keep.any() and not keep.all():
        assert magnitudes[~keep].max() <= magnitudes[keep].min()


def test_of_equal_weights_the_first_go() -> None:
    assert keep_mask(np.ones(4, np.float32), 0.5).tolist() == [False, False, True, True]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_globally_the_smallest_weights_of_all_tensors_go(share: float) -> None:
    model = builders.mlp()
    before = arrays(model)
    prune(model, Pruning(sparsity=share))
    after = arrays(model)
    weights = ("w1", "w2")
    zeroed = np.concatenate([np.abs(before[name][after[name] == 0]) for name in weights])
    kept = np.concatenate([np.abs(after[name][after[name] != 0]) for name in weights])
    assert len(zeroed) == round(share * (len(zeroed) + len(kept)))
    assert zeroed.max() <= kept.min()
    assert sparsity(model) == pytest.approx(share, abs=1e-3)


def test_per_layer_every_tensor_gives_its_share() -> None:
    model = builders.convnet()
    prune(model, Pruning(sparsity=0.25, scope="Layer"))
    for name in ("k1", "k2", "w"):
        weight = arrays(model)[name]
        assert np.count_nonzero(weight == 0) == round(0.25 * weight.size)


def test_what_is_kept_is_untouched_and_biases_are_not_weights() -> None:
    model = builders.mlp()
    before = arrays(model)
    prune(model, Pruning(sparsity=0.5))
    after = arrays(model)
    assert np.array_equal(after["b1"], before["b1"])
    kept = after["w1"] != 0
    assert np.array_equal(after["w1"][kept], before["w1"][kept])
    assert not np.signbit(after["w1"][~kept]).any()


def test_it_is_the_same_every_time() -> None:
    first, second = builders.mlp(), builders.mlp()
    prune(first, Pruning(sparsity=0.5))
    prune(second, Pruning(sparsity=0.5))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_weights_in_constant_nodes_are_weights() -> None:
    weight = numpy_helper.from_array(np.arange(1, 9, dtype=np.float32).reshape(2, 4), "value")
    model = builders.model(
        [
            helper.make_node("Constant", [], ["w"], value=weight),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    prune(model, Pruning(sparsity=0.5))
    (pruned,) = float_weights(model.graph).values()
    assert numpy_helper.to_array(pruned).tolist() == [[0, 0, 0, 0], [5, 6, 7, 8]]


def test_a_model_without_weights_cannot_be_pruned() -> None:
    model = builders.model(
        [helper.make_node("Relu", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    assert sparsity(model) is None
    with pytest.raises(NotApplicableError, match="weights"):
        prune(model, Pruning(sparsity=0.5))
