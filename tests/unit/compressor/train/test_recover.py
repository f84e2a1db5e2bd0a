"""Training through the graph that will be served: it learns, gives back what pruning took, and knows when to stop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.prune import prune
from edgemodel_compressor.graph.weights import float_weights, sparsity
from edgemodel_compressor.train.network.module import GraphModule
from edgemodel_compressor.train.plan import Recovered, TrainingPlan
from edgemodel_compressor.train.recover import Masks, recover
from edgemodel_compressor.train.supervision import Teacher
from edgemodel_contract.task import Pruning
from tests.unit.compressor import builders
from tests.unit.compressor.train import digits

SHORT = TrainingPlan(epochs=2)


def train(
    proto: onnx.ModelProto,
    plan: TrainingPlan,
    *,
    x: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    teacher: Teacher | None = None,
    masks: Masks | None = None,
    progress: Callable[[float, str], None] = lambda _share, _message: None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Recovered:
    """On the digits, shaped as ``proto`` wants them."""
    data = digits.digits()
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    rows = data.x.reshape(-1, *shape) if x is None else x
    return recover(proto, {"x": rows}, labels, teacher=teacher, plan=plan, progress=progress, clock=clock, masks=masks)


@pytest.fixture(scope="module")
def trained() -> onnx.ModelProto:
    """The convolutional network, trained from its random weights."""
    plan = TrainingPlan(epochs=6, learning_rate=3e-3)
    return train(digits.convnet(), plan, labels=digits.digits().y).proto


def pruned(proto: onnx.ModelProto, share: float) -> tuple[onnx.ModelProto, Masks]:
    """A copy of ``proto`` with ``share`` of its weights at zero, and its masks."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    prune(copy, Pruning(sparsity=share, scope="Layer"))
    return copy, {name: numpy_helper.to_array(tensor) != 0 for name, tensor in float_weights(copy.graph).items()}


def weights(proto: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


class Steps:
    """A clock that is a second on at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("batch", [1, "N"])
def test_the_two_layer_network_is_trained_from_chance_by_sgd_and_cross_entropy(
    batch: int | str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, path = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), tmp_path / "net.onnx"
    axes = {} if batch == 1 else {"x": {0: "N"}, "scores": {0: "N"}}
    torch.onnx.export(
        net, (torch.zeros(1, 64),), path, input_names=["x"], output_names=["scores"], dynamic_axes=axes, dynamo=False
    )
    proto = onnx.load(path)
    plan = TrainingPlan(epochs=12, optimizer="SGD", learning_rate=0.1)
    result = train(proto, plan, labels=digits.digits().y)
    if batch == 1:
        for value in (result.proto.graph.input[0], result.proto.graph.output[0], proto.graph.input[0]):
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    assert digits.accuracy(proto) < 0.25
    assert digits.accuracy(result.proto) > 0.9
    assert result.stopped_because == "epochs"
    assert len(result.training_loss) == result.epochs_run == 12
    assert len(result.validation_loss) == 13
    assert result.training_loss[-1] < result.training_loss[0] / 4


@pytest.mark.parametrize("method", ["Labels", "Distillation"])
def test_what_pruning_took_comes_back_and_what_is_zero_stays_zero(method: Any, trained: onnx.ModelProto) -> None:
    hurt, masks = pruned(trained, 0.8)
    plan = TrainingPlan(epochs=6, learning_rate=3e-3, method=method)
    labels = digits.digits().y if method == "Labels" else None
    result = train(hurt, plan, labels=labels, teacher=trained, masks=masks)
    before, after, original = digits.accuracy(hurt), digits.accuracy(result.proto), digits.accuracy(trained)
    assert original > 0.95
    assert before < original - 0.15
    assert after > original - 0.05
    assert sparsity(result.proto) == sparsity(hurt)
    for name, mask in masks.items():
        values = weights(result.proto)[name][~mask]
        assert not values.any()
        assert not np.signbit(values).any()


def test_a_mask_zeroes_what_is_not_zero_yet(trained: onnx.ModelProto) -> None:
    mask = np.ones((10, 384), np.bool_)
    mask[3] = False
    result = train(trained, SHORT, labels=digits.digits().y, masks={"fc.weight": mask})
    assert not weights(result.proto)["fc.weight"][3].any()


def test_only_weights_change_and_the_model_given_does_not(trained: onnx.ModelProto) -> None:
    before = trained.SerializeToString(deterministic=True)
    plan = replace(SHORT, learning_rate=1e-2, optimizer="SGD", statistics="Frozen")
    result = train(trained, plan, teacher=pruned(trained, 0.3)[0])
    assert trained.SerializeToString(deterministic=True) == before
    ours, theirs = weights(result.proto), weights(trained)
    assert {name for name in ours if not np.array_equal(ours[name], theirs[name])} == set(theirs) - {"mean", "variance"}
    assert [(name, value.shape, value.dtype) for name, value in ours.items()] == [
        (name, value.shape, value.dtype) for name, value in theirs.items()
    ]
    assert list(result.proto.graph.node) == list(trained.graph.node)
    onnx.checker.check_model(result.proto, full_check=True)


def test_running_statistics_that_are_no_longer_right_are_estimated_anew(trained: onnx.ModelProto) -> None:
    wrong = onnx.ModelProto()
    wrong.CopyFrom(trained)
    variance = next(tensor for tensor in wrong.graph.initializer if tensor.name == "variance")
    variance.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(variance) * 1e6, "variance"))
    plan = TrainingPlan(epochs=1, learning_rate=1e-6)
    frozen = train(wrong, replace(plan, statistics="Frozen"), labels=digits.digits().y)
    batch = train(wrong, plan, labels=digits.digits().y)
    assert digits.accuracy(frozen.proto) < 0.8
    assert digits.accuracy(batch.proto) > 0.95
    inside = train(trained, plan, labels=digits.digits().y).proto
    (normalized,) = GraphModule(inside, ["a"])(torch.from_numpy(digits.digits().x.reshape(-1, 1, 8, 8)))
    moments = torch.var_mean(normalized, dim=(0, 2, 3))
    for name, moment in zip(("variance", "mean"), moments, strict=True):
        np.testing.assert_allclose(weights(batch.proto)[name], moment.detach().numpy(), rtol=0.1, atol=0.02)


@pytest.mark.parametrize("method", ["Labels", "Distillation"])
def test_it_is_the_same_every_time_and_another_with_another_seed(method: Any, trained: onnx.ModelProto) -> None:
    plan = TrainingPlan(epochs=1, method=method)

    def digest(seed: int) -> bytes:
        hurt, _ = pruned(trained, 0.8)
        result = train(hurt, replace(plan, seed=seed), labels=digits.digits().y, teacher=trained)
        serialized: bytes = result.proto.SerializeToString(deterministic=True)
        return serialized

    assert digest(1) == digest(1) != digest(2)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_teacher_may_be_a_file(trained: onnx.ModelProto, tmp_path: Path) -> None:
    path = builders.save(trained, tmp_path / "original.onnx")
    hurt, masks = pruned(trained, 0.8)
    by_file = train(hurt, SHORT, teacher=path, masks=masks)
    by_proto = train(hurt, SHORT, teacher=trained, masks=masks)
    assert by_file.validation_loss == by_proto.validation_loss


def test_scores_are_taken_from_before_a_softmax() -> None:
    plan = TrainingPlan(epochs=4, learning_rate=3e-3)
    bare = train(digits.two_layers(), plan, labels=digits.digits().y)
    normalized = train(digits.two_layers(softmax=True), plan, labels=digits.digits().y)
    assert normalized.validation_loss == bare.validation_loss


def regression() -> onnx.ModelProto:
    """Two outputs, and none of class scores: ``y`` (batch, 2, 3) and ``z`` (batch, 1)."""
    rng = np.random.default_rng(0)
    return builders.model(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Reshape", ["h", "shape"], ["y"]),
            helper.make_node("MatMul", ["x", "v"], ["z"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 3]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1]),
        ],
        {
            "w": rng.normal(scale=1 / 8, size=(64, 6)).astype(np.float32),
            "v": rng.normal(scale=1 / 8, size=(64, 1)).astype(np.float32),
            "shape": np.array([0, 2, 3]),
        },
    )


def test_float_targets_are_fitted_by_squared_error() -> None:
    x = digits.digits().x
    wanted = x @ np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32) / 8
    result = train(regression(), TrainingPlan(epochs=10, learning_rate=1e-2), labels=wanted)
    assert result.validation_loss[-1] < 0.05 * result.validation_loss[0]
    assert np.array_equal(weights(result.proto)["v"], weights(regression())["v"])


def test_outputs_that_are_no_scores_are_distilled_by_squared_error_all_of_them() -> None:
    hurt, _ = pruned(regression(), 0.6)
    result = train(hurt, TrainingPlan(epochs=10, learning_rate=1e-2), teacher=regression())
    assert result.validation_loss[-1] < 0.05 * result.validation_loss[0]
    x = digits.digits().test_x
    assert np.abs(digits.run(result.proto, {"x": x}) - digits.run(regression(), {"x": x})).mean() < 0.1


def test_a_model_that_does_not_get_better_is_returned_as_it_was(trained: onnx.ModelProto) -> None:
    plan = TrainingPlan(epochs=20, patience=2, learning_rate=5.0, optimizer="SGD")
    result = train(trained, plan, labels=digits.digits().y)
    assert result.stopped_because == "no improvement"
    assert (result.epochs_run, result.best_epoch) == (2, 0)
    assert result.proto == trained


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    plan = TrainingPlan(epochs=8, learning_rate=0.05)
    result = train(digits.two_layers(), plan, labels=digits.digits().y)
    assert result.best_epoch == int(np.argmin(result.validation_loss))
    again = train(result.proto, SHORT, labels=digits.digits().y)
    assert again.validation_loss[0] == pytest.approx(min(result.validation_loss))


def test_a_time_limit_ends_it_and_keeps_what_it_brought() -> None:
    plan = TrainingPlan(epochs=100, time_limit=60.0, learning_rate=1e-2)
    result = train(digits.two_layers(), plan, labels=digits.digits().y, clock=Steps())
    assert result.stopped_because == "time limit"
    assert result.epochs_run < 5
    assert min(result.validation_loss) < result.validation_loss[0]


def test_a_loss_that_is_not_finite_ends_it_with_the_best_weights() -> None:
    x = digits.digits().x.copy()
    x[5] = 3e38
    result = train(regression(), TrainingPlan(epochs=3), x=x, labels=x[:, :6].copy())
    assert result.stopped_because == "loss not finite"
    assert all(np.isfinite(value).all() for value in weights(result.proto).values())


def test_progress_rises_to_the_end_and_says_how_long_it_takes() -> None:
    seen: list[tuple[float, str]] = []
    train(
        digits.two_layers(),
        SHORT,
        labels=digits.digits().y,
        progress=lambda share, message: seen.append((share, message)),
        clock=Steps(),
    )
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 < shares[-1] <= 1
    assert "epoch 1 of 2" in seen[0][1]
    assert "epoch 2 of 2, about " in seen[-1][1]


def test_labels_per_position_train_sequences() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 7, (96, 5))
    proto = builders.model(
        [helper.make_node("Gather", ["table", "x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["scores"])],
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["N", 5])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 5, 7])],
        {"table": rng.normal(size=(7, 12)).astype(np.float32), "w": np.zeros((12, 7), np.float32)},
    )
    plan = TrainingPlan(epochs=30, learning_rate=0.03)
    result = train(proto, plan, x=tokens, labels=(tokens + 1) % 7)
    predicted = digits.run(result.proto, {"x": tokens}).argmax(axis=-1)
    assert (predicted == (tokens + 1) % 7).mean() > 0.9


@pytest.mark.parametrize(
    ("plan", "labels", "error", "message"),
    [
        (TrainingPlan(method="Labels"), None, ValueError, "there are none"),
        (TrainingPlan(), None, ValueError, "teacher"),
        (TrainingPlan(), np.full(1297, 10), ValueError, "10 classes"),
        (TrainingPlan(), np.zeros(5, np.int64), ValueError, "5 labels for 1297 samples"),
        (TrainingPlan(), np.zeros((1297, 3), np.int64), NotApplicableError, "no class scores"),
        (TrainingPlan(), np.zeros((1297, 3), np.float32), NotApplicableError, "shape"),
    ],
)
def test_what_does_not_fit_is_said(
    plan: TrainingPlan, labels: NDArray[Any] | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(digits.two_layers(), plan, labels=labels)


def test_a_teacher_of_another_shape_is_refused() -> None:
    with pytest.raises(NotApplicableError, match=r"\[\[4\]\]"):
        train(digits.two_layers(), SHORT, teacher=builders.mlp(features=64))


def test_one_sample_is_too_few() -> None:
    with pytest.raises(NotApplicableError, match="2 samples"):
        train(digits.two_layers(), SHORT, x=np.zeros((1, 64), np.float32), labels=np.zeros(1, np.int64))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="'w1'"):
        train(digits.two_layers(), SHORT, labels=digits.digits().y, masks={"w1": np.ones((2, 2), np.bool_)})


@pytest.mark.parametrize(
    "values", [{"epochs": 0}, {"learning_rate": -1.0}, {"validation_share": 1.0}, {"temperature": 0.0}]
)
def test_a_plan_is_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        TrainingPlan(**values)
