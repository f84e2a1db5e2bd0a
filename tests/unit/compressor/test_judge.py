"""How well a model answers: against labels, or against the original."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.evaluate.confidence import wilson
from edgemodel_compressor.evaluate.evaluator import Evaluator, Samples, Score
from edgemodel_compressor.evaluate.labels import metric_for
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session
from edgemodel_compressor.search.evaluation import Evaluation, excess
from edgemodel_contract.quality import Metric
from edgemodel_contract.result import OutputQuality
from edgemodel_contract.task import Mode, Objectives, Recipe, TensorSpec
from tests.unit.compressor import builders


def scaler(path: Path, factor: float, offset: float = 0.0) -> Path:
    """y = factor · x + offset, on (1, 3)."""
    model = builders.model(
        [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Add", ["m", "o"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        {"f": np.array([factor], np.float32), "o": np.array([0, 0, offset], np.float32)},
    )
    return builders.save(model, path)


def samples(labels: list[int] | None = None) -> Samples:
    values = np.array([[3, 2, 1], [1, 3, 2], [1, 2, 3], [9, 2, 3]], np.float32)
    dataset = Dataset({"x": values}, None if labels is None else np.array(labels))
    return Samples(dataset, np.arange(4))


def test_top1_is_the_share_of_right_labels(tmp_path: Path) -> None:
    judge = Evaluator(samples([0, 1, 0, 0]), "Top1")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None).value == 0.75
    assert judge.score(scaler(tmp_path / "b.onnx", 1, offset=100), 1, lambda _: None).value == 0.0


def ranker(path: Path, classes: int) -> Path:
    """Passes the scores on."""
    model = builders.model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", classes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
    )
    return builders.save(model, path)


def ranked(labels: list[int], scores: list[float]) -> Samples:
    """Every sample has the same scores."""
    return Samples(
        Dataset({"x": np.array([scores] * len(labels), np.float32)}, np.array(labels)), np.arange(len(labels))
    )


def test_top5_is_the_share_of_labels_among_the_five_best_scores(tmp_path: Path) -> None:
    model = ranker(tmp_path / "a.onnx", 7)
    part = ranked([0, 1, 2, 3, 4, 5, 6, 6], [7, 6, 1, 5, 4, 2, 3])
    named = Evaluator(part, "Top5").score(model, 1, lambda _: None)
    assert (named.value, named.samples, named.top5) == (0.75, 8, None)
    assert (named.low, named.high) == tuple(round(bound, 6) for bound in wilson(6, 8))
    usual = Evaluator(part, "Top1").score(model, 1, lambda _: None)
    assert usual.value == 0.125
    assert usual.top5 is not None
    assert (usual.top5.value, usual.top5.low, usual.top5.high) == (named.value, named.low, named.high)


def test_among_equal_scores_the_first_are_the_best(tmp_path: Path) -> None:
    part = ranked([0, 4, 5, 6], [1.0] * 7)
    score = Evaluator(part, "Top1").score(ranker(tmp_path / "a.onnx", 7), 1, lambda _: None)
    assert score.value == 0.25
    assert score.top5 is not None
    assert score.top5.value == 0.5


def test_of_five_classes_or_less_there_is_no_top5(tmp_path: Path) -> None:
    part = ranked([0, 1], [3, 2, 1, 0, 4])
    assert Evaluator(part, "Top1").score(ranker(tmp_path / "a.onnx", 5), 1, lambda _: None).top5 is None


def test_agreement_is_with_the_original_which_agrees_with_itself(tmp_path: Path) -> None:
    judge = Evaluator(samples(), "Agreement")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None).value == 1.0
    assert judge.score(scaler(tmp_path / "b.onnx", 1.01), 1, lambda _: None).value > 0.99
    assert judge.score(scaler(tmp_path / "c.onnx", 1, offset=5), 1, lambda _: None).value == 0.5


def test_the_margin_of_what_was_lost_is_that_of_the_differences_sample_by_sample(tmp_path: Path) -> None:
    evaluator = Evaluator(samples([0, 1, 0, 0]), "Top1")
    original = evaluator.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None)
    assert original.outputs[0].margin == 0.0
    # Two of the three that were right are wrong.
    other = evaluator.score(scaler(tmp_path / "c.onnx", 1, offset=5), 1, lambda _: None)
    assert other.outputs[0].margin == pytest.approx(np.std([-1, -1, 0, 0], ddof=1) / 2, abs=1e-6)


def test_an_answer_that_is_no_number_is_lost_and_told_in_numbers(tmp_path: Path) -> None:
    """One overflow in a hundred answers: neither the mean error nor its margin is a number then."""
    values = np.linspace(1, 90, 100, dtype=np.float32)[:, None]
    split = Samples(Dataset({"x": values}, values[:, 0]), np.arange(100))
    models = []
    for name, factor in (("original", 1.0), ("overflows", 1.01)):
        # e to the 88.8 is more than a float32 holds; what is left over of it is added to the answer.
        nodes = [helper.make_node("Mul", ["x", "f"], ["m"]), helper.make_node("Exp", ["m"], ["e"])]
        nodes += [helper.make_node("Mul", ["e", "zero"], ["rest"]), helper.make_node("Add", ["m", "rest"], ["y"])]
        model = builders.model(
            nodes,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
            {"f": np.array([0.98 * factor], np.float32), "zero": np.array([1e-38], np.float32)},
        )
        models.append(builders.save(model, tmp_path / f"{name}.onnx"))
    evaluator = Evaluator(split, "MSE")
    original, other = (evaluator.score(path, 1, lambda _: None) for path in models)
    assert np.isfinite(original.value)
    item = msgspec.structs.replace(other.outputs[0], allowed=0.5)
    assert item.lost == 1.0
    assert excess([item]) > 1
    assert excess([item, original.outputs[0]]) > 1
    assert msgspec.json.decode(msgspec.json.encode(other), type=Score) == other


@pytest.mark.parametrize(("mode", "lost", "held"), [("Auto", 3, True), ("Auto", 1, False), ("Manual", 3, False)])
def test_a_margin_is_held_against_what_auto_looks_for_and_never_against_a_single_answer(
    mode: Mode, lost: int, held: bool
) -> None:
    item = OutputQuality(output="y", metric="Agreement", value=1.0, low=1.0, high=1.0, lost=lost / 400, margin=0.004)
    job = SimpleNamespace(recipe=Recipe(mode=mode, objectives=Objectives(max_accuracy_drop=0.01)))
    evaluation = Evaluation(job, None, None, None, {})  # type: ignore[arg-type]
    (limited,) = evaluation._limited(Score("Agreement", 1.0, 400, 1.0, 1.0, (item,)))
    assert bool(limited.margin) == held
    assert (excess((limited,)) > 1) == held
    (confirmed,) = evaluation._limited(Score("Agreement", 1.0, 400, 1.0, 1.0, (item,)), searching=False)
    assert confirmed.margin == 0.0


def test_cosine_is_with_the_originals_outputs(tmp_path: Path) -> None:
    judge = Evaluator(samples(), "Cosine")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None).value == 1.0
    assert judge.score(scaler(tmp_path / "b.onnx", 2), 1, lambda _: None).value == 1.0
    (turned_round,) = judge.score(scaler(tmp_path / "c.onnx", -1), 1, lambda _: None).outputs
    assert turned_round.broken
    turned = judge.score(scaler(tmp_path / "d.onnx", 1, offset=5), 1, lambda _: None).value
    assert 0.4 < turned < 1


def test_whole_outputs_are_remembered_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemodel_compressor.evaluate.evaluator.REFERENCE_BYTES", 20)
    judge = Evaluator(samples(), "Cosine")
    assert judge.score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None).samples == 2
    assert judge.score(scaler(tmp_path / "b.onnx", 1), 1, lambda _: None).samples == 2


@pytest.mark.parametrize("metric", ["Agreement", "Cosine", "MSE", "Perplexity", "Top1"])
def test_scores_do_not_depend_on_the_number_of_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: Metric
) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(50, 3)).astype(np.float32)
    tokens = rng.integers(0, 3, size=(50, 1))
    labels = {"MSE": np.exp(values), "Perplexity": tokens, "Top1": tokens[:, 0]}.get(metric)
    part = Samples(Dataset({"x": values}, labels), rng.permutation(50)[:40])
    models = [scaler(tmp_path / "a.onnx", 1), scaler(tmp_path / "b.onnx", 0.7, offset=0.3)]
    monkeypatch.setattr("edgemodel_compressor.evaluate.evaluator.REFERENCE_BYTES", 200)

    def scores(cpus: int) -> list[tuple[Score, list[float]]]:
        builders.have_cpus(monkeypatch, cpus)
        judge, found = Evaluator(part, metric), []
        for model in models:
            told: list[float] = []
            found.append((judge.score(model, 1, told.append), told))
        return found

    assert scores(1) == scores(2) == scores(64)


def test_what_a_run_raises_is_raised_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.have_cpus(monkeypatch, 4)
    calls = iter(range(4))

    def run(_: Session, feed: Feed) -> list[Array]:
        if next(calls) == 2:
            raise MemoryError
        return [feed["x"]]

    monkeypatch.setattr(Session, "run", run)
    with pytest.raises(MemoryError):
        Evaluator(samples(), "Cosine").score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None)


def test_the_interval_of_a_share_holds_it_and_narrows_with_samples() -> None:
    few, many = wilson(3, 4), wilson(300, 400)
    assert few[0] < 0.75 < few[1]
    assert few[1] - few[0] > 3 * (many[1] - many[0])


def test_a_score_says_what_it_rests_on(tmp_path: Path) -> None:
    score = Evaluator(samples([0, 1, 0, 0]), "Top1").score(scaler(tmp_path / "a.onnx", 1), 1, lambda _: None)
    assert (score.samples, score.value) == (4, 0.75)
    assert score.low < 0.75 < score.high


def test_squared_error_is_against_float_targets(tmp_path: Path) -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    part = Samples(Dataset({"x": values}, 2 * values), np.arange(2))
    assert Evaluator(part, "MSE").score(scaler(tmp_path / "a.onnx", 2), 1, lambda _: None).value == 0.0
    wrong = Evaluator(part, "MSE").score(scaler(tmp_path / "b.onnx", 1), 1, lambda _: None)
    assert wrong.value == pytest.approx(float(np.mean(values**2)))


def test_perplexity_of_a_model_that_knows_nothing_is_the_number_of_words(tmp_path: Path) -> None:
    model = builders.model(
        [helper.make_node("Mul", ["x", "z"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5, 7])],
        {"z": np.zeros(1, np.float32)},
    )
    tokens = np.array([[0, 1, 2, 3, -1], [6, 5, 4, 3, 2]], np.int64)
    part = Samples(Dataset({"x": np.ones((2, 5, 7), np.float32)}, tokens), np.arange(2))
    score = Evaluator(part, "Perplexity").score(builders.save(model, tmp_path / "m.onnx"), 1, lambda _: None)
    assert score.value == pytest.approx(7.0, abs=1e-4)


@pytest.mark.parametrize(
    ("shape", "labels", "metric"),
    [
        ((-1, 10), None, None),
        ((-1, 10), np.zeros(3, np.int64), "Top1"),
        ((-1, 5, 8), np.zeros((3, 5), np.int64), "Perplexity"),
        ((-1, 4), np.zeros((3, 4), np.float32), "MSE"),
    ],
)
def test_the_metric_follows_the_labels(shape: tuple[int, ...], labels: Array | None, metric: str | None) -> None:
    assert metric_for(TensorSpec(name="y", datatype="FP32", shape=shape), labels) == metric


CLASSES, TOKENS, TARGETS = np.zeros(3, np.int64), np.zeros((3, 5), np.int64), np.zeros((3, 4), np.float32)


@pytest.mark.parametrize(
    ("shape", "labels", "named"),
    [
        ((-1, 10), CLASSES, "Top5"),
        ((-1, -1), CLASSES, "Top5"),
        ((-1, 10), CLASSES, "Top1"),
        ((-1, 10), CLASSES, "Agreement"),
        ((-1, 10), None, "Cosine"),
        ((-1, 5, 8), TOKENS, "Perplexity"),
        ((-1, 4), TARGETS, "MSE"),
    ],
)
def test_a_metric_can_be_named(shape: tuple[int, ...], labels: Array | None, named: Metric) -> None:
    assert metric_for(TensorSpec(name="y", datatype="FP32", shape=shape), labels, named) == named


@pytest.mark.parametrize(
    ("shape", "labels", "named", "words"),
    [
        ((-1, 5), CLASSES, "Top5", "a model of more than 5 classes; leave it out to have Top1 measured"),
        ((-1, 10), None, "Top5", "one integer class per sample"),
        ((-1, 10), None, "Top1", "one integer class per sample"),
        ((-1, 10), CLASSES, "Perplexity", "one token per position"),
        ((-1, 5, 8), TOKENS, "Top5", "one integer class per sample"),
        ((-1, 10), CLASSES, "MSE", "float targets"),
    ],
)
def test_a_metric_that_the_dataset_cannot_tell_is_refused(
    shape: tuple[int, ...], labels: Array | None, named: Metric, words: str
) -> None:
    with pytest.raises(TaskError, match=words) as caught:
        metric_for(TensorSpec(name="y", datatype="FP32", shape=shape), labels, named)
    assert caught.value.reason == "InvalidTask"
