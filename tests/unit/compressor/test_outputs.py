"""Every output is judged by what it is, the worst one decides, and what is chosen is confirmed by another process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import NodeProto, TensorProto, helper

from edgemodel_compressor.data.dataset import Dataset
from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.evaluate.evaluator import Evaluator, Samples, Score
from edgemodel_compressor.onnxmodel.model import load_model
from edgemodel_compressor.onnxmodel.runtime import Array
from edgemodel_compressor.progress import Span
from edgemodel_compressor.search.engine import Outcome, compress
from edgemodel_compressor.search.evaluation import Job
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import Objectives, OutputRule, Pruning, Quantization, Recipe, Search
from tests.unit.compressor import builders

Compress = Callable[..., Outcome]
FEATURES = 24
VALUES = np.random.default_rng(0).normal(size=(160, FEATURES)).astype(np.float32)
STATIC = Recipe(mode="Manual", quantization=Quantization(method="Static"))


def network(path: Path, heads: dict[str, tuple[Array, str | None]]) -> Path:
    """ReLU(xW), and of that a product with each of ``heads``, through the operator it names, if any."""
    rng = np.random.default_rng(1)
    weights = {"w": (rng.normal(size=(FEATURES, 64)) / np.sqrt(FEATURES)).astype(np.float32)}
    nodes: list[NodeProto] = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
    ]
    outputs = []
    for name, (matrix, end) in heads.items():
        weights[f"w_{name}"] = matrix.astype(np.float32)
        last = f"{name}_raw" if end else name
        nodes.append(helper.make_node("MatMul", ["r", f"w_{name}"], [last], name=f"head_{name}"))
        if end:
            nodes.append(helper.make_node(end, [last], [name], name=f"end_{name}"))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", matrix.shape[1]]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])]
    return builders.save(builders.model(nodes, inputs, outputs, weights), path)


def head(width: int, seed: int = 2) -> Array:
    return np.random.default_rng(seed).normal(size=(64, width))


def samples(labels: Array | None = None) -> Samples:
    return Samples(Dataset({"x": VALUES}, labels), np.arange(len(VALUES)))


def broken(source: Path, weight: str, change: Callable[[Array], Array]) -> Path:
    """The model with ``weight`` changed."""
    model = onnx.load(source)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), weight))
    return builders.save(model, source.with_name("broken.onnx"))


def scored(judge: Evaluator, *files: Path) -> list[Score]:
    return [judge.score(file, 1, lambda _: None) for file in files]


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Compress:
    def compressed(source: Path, recipe: Recipe, labels: Array | None = None, values: Array = VALUES) -> Outcome:
        model = load_model(source, "0" * 64, (), 1)
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        return compress(Job(model, Dataset({"x": values}, labels), recipe, 1, work, settings), Span(lambda _: None))

    return compressed


def test_a_second_output_that_is_broken_decides_though_labels_belong_to_the_first(tmp_path: Path) -> None:
    source = network(tmp_path / "m.onnx", {"classes": (head(4), "Softmax"), "age": (head(1, 3), None)})
    bad = broken(source, "w_age", lambda weight: -weight)
    labels = np.random.default_rng(0).integers(0, 4, len(VALUES))
    original, found = scored(Evaluator(samples(labels), "Top1"), source, bad)
    assert found.metric == "Top1"
    assert found.value == original.value
    classes, age = found.outputs
    assert (classes.lost, classes.broken) == (0.0, False)
    assert (age.metric, age.broken, found.lost) == ("Values", True, 1.0)


@pytest.mark.parametrize("end", [None, "Sigmoid"])
def test_one_number_of_one_sign_that_is_only_scaled_is_not_as_good(tmp_path: Path, end: str | None) -> None:
    """The cosine of two numbers of one sign is 1, whatever they are."""
    source = network(tmp_path / "m.onnx", {"y": (np.abs(head(1)), end)})
    _, found = scored(Evaluator(samples()), source, broken(source, "w_y", lambda weight: 0.1 * weight))
    assert found.value < 0.5


def test_a_score_that_falls_beside_boxes_in_pixels_is_seen(tmp_path: Path) -> None:
    wide = np.concatenate([200 * head(4), 0.02 * head(1, 4)], axis=1)
    source = network(tmp_path / "m.onnx", {"found": (wide, None)})
    shrunk = broken(source, "w_found", lambda weight: weight * np.array([1, 1, 1, 1, 0.1], np.float32))
    _, found = scored(Evaluator(samples(), "Values"), source, shrunk)
    assert found.value < 0.5
    assert "channel 4" in found.outputs[0].words


def test_labels_do_not_excuse_answers_that_no_longer_depend_on_the_input(tmp_path: Path) -> None:
    source = network(tmp_path / "m.onnx", {"scores": (head(4), None)})
    usual = np.zeros(len(VALUES), np.int64)
    usual[:4] = 1
    constant = broken(source, "w_scores", lambda weight: 0 * weight)
    _, found = scored(Evaluator(samples(usual), "Top1"), source, constant)
    assert found.value > 0.9
    assert found.outputs[0].broken
    assert found.lost == 1.0


def test_what_changed_is_said_in_words(tmp_path: Path) -> None:
    source = network(tmp_path / "m.onnx", {"classes": (head(4), "Softmax")})
    noisy = broken(source, "w_classes", lambda weight: (weight + 0.05 * head(4, 9)).astype(np.float32))
    _, found = scored(Evaluator(samples()), source, noisy)
    words = found.outputs[0].words
    assert words.startswith("of 160 samples, ")
    assert " changed their class; the largest score moved by 0." in words


def test_an_output_is_judged_as_it_is_named_and_may_lose_what_is_said(tmp_path: Path, run: Compress) -> None:
    source = network(tmp_path / "m.onnx", {"a": (head(4), None), "b": (head(6, 5), None)})
    rules = (OutputRule(output="b", metric="Cosine", max_drop=0.25), OutputRule(output="a", metric="Values"))
    outcome = run(source, structs.replace(STATIC, judge=rules, objectives=Objectives(max_accuracy_drop=0.1)))
    a, b = outcome.served[1].measured.outputs
    assert [(item.metric, item.allowed) for item in (a, b)] == [("Values", 0.1), ("Cosine", 0.25)]


def test_what_one_output_loses_too_much_of_is_not_chosen(tmp_path: Path, run: Compress) -> None:
    source = network(tmp_path / "m.onnx", {"a": (head(4), "Softmax"), "b": (head(1, 5), None)})
    recipe = Recipe(
        mode="Manual", pruning=Pruning(sparsity=0.5), judge=(OutputRule(output="b", metric="Values", max_drop=0.001),)
    )
    outcome = run(source, recipe)
    assert outcome.choice.chosen is None
    assert outcome.choice.closest is not None
    assert "output 'b': accuracy drop" in (outcome.choice.closest.rejected or "")


def test_the_choice_is_confirmed_on_samples_that_the_search_has_not_read(tmp_path: Path, run: Compress) -> None:
    source = network(tmp_path / "m.onnx", {"classes": (head(4), "Softmax")})
    outcome = run(source, Recipe(search=Search(trials=2), objectives=Objectives(max_latency=10.0)))
    assert outcome.parts is not None
    parts = outcome.parts
    together = np.concatenate([parts.calibration, parts.recovery, parts.evaluation, parts.confirmation])
    assert sorted(together.tolist()) == list(range(len(VALUES)))
    original, chosen = outcome.served
    assert original.confirmed
    assert chosen.measured.confirmed
    assert original.samples == chosen.measured.samples == len(parts.confirmation)
    assert outcome.original.measured.samples == len(parts.evaluation)


def test_a_search_that_is_deceived_is_found_out_by_the_other_process(
    tmp_path: Path, run: Compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every candidate is said to have lost nothing."""
    source = network(tmp_path / "m.onnx", {"y": (head(1), None)})
    honest = Evaluator.score

    def flattering(judge: Evaluator, model: Path, threads: int, advance: Callable[[float], None]) -> Score:
        found = honest(judge, model, threads, advance)
        good = tuple(
            type(item)(output=item.output, metric=item.metric, value=1.0, low=1.0, high=1.0) for item in found.outputs
        )
        return replace(found, value=1.0, low=1.0, high=1.0, outputs=good)

    monkeypatch.setattr(Evaluator, "score", flattering)
    outcome = run(
        source,
        Recipe(search=Search(trials=6), objectives=Objectives(max_latency=10.0, max_accuracy_drop=0.0001)),
    )
    _, chosen = outcome.served
    assert chosen.measured.outputs[0].lost <= 0.0001
    assert any("not confirmed on" in note and "other samples" in note for note in outcome.notes)


class TestBadInput:
    def test_samples_that_are_all_equal(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (head(1), None)})
        refuses("InvalidDataset", "all of its samples are equal", run, source, STATIC, values=np.ones_like(VALUES))

    def test_a_model_that_answers_the_same_to_everything(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (0 * head(3), None)})
        refuses("InvalidModel", "one and the same answer to all", run, source, STATIC)

    def test_a_model_that_answers_nan(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (head(1), "Log")})
        refuses("InvalidModel", "answers NaN in its output 'y' on sample", run, source, STATIC)

    def test_a_rule_for_an_output_that_does_not_exist(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (head(1), None)})
        rules = structs.replace(STATIC, judge=(OutputRule(output="z", max_drop=0.1),))
        refuses("InvalidTask", "the output 'z', which the model does not have; its outputs are: y", run, source, rules)

    def test_two_rules_for_one_output(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (head(1), None)})
        rules = structs.replace(STATIC, judge=(OutputRule(output="y"), OutputRule(output="y", max_drop=0.1)))
        refuses("InvalidTask", "names the output 'y' twice", run, source, rules)

    def test_a_model_whose_answers_are_random(self, tmp_path: Path, run: Compress) -> None:
        nodes = [
            helper.make_node("RandomNormalLike", ["x"], ["noise"]),
            helper.make_node("Add", ["x", "noise"], ["y"]),
        ]
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", FEATURES]) for name in ("x", "y")]
        source = builders.save(builders.model(nodes, info[:1], info[1:]), tmp_path / "random.onnx")
        refuses("InvalidModel", "answers one sample in two ways", run, source, Recipe(mode="None"))

    def test_labels_that_fit_no_output(self, tmp_path: Path, run: Compress) -> None:
        source = network(tmp_path / "m.onnx", {"y": (head(3), None), "z": (head(2), None)})
        labels = np.arange(len(VALUES)) % 7
        refuses("InvalidDataset", "the model has 3 classes, 0 to 2", run, source, STATIC, labels=labels)


def test_labels_belong_to_the_output_they_fit(tmp_path: Path, run: Compress) -> None:
    source = network(tmp_path / "m.onnx", {"age": (head(1), None), "classes": (head(7, 3), "Softmax")})
    outcome = run(source, Recipe(mode="None"), labels=np.arange(len(VALUES)) % 7)
    assert [(item.output, item.metric) for item in outcome.original.measured.outputs] == [
        ("age", "Values"),
        ("classes", "Top1"),
    ]
    assert outcome.original.measured.metric == "Top1"


def refuses(reason: str, words: str, run: Compress, source: Path, recipe: Recipe, **more: Array) -> None:
    with pytest.raises(TaskError) as caught:
        run(source, recipe, **more)
    assert caught.value.reason == reason
    assert words in caught.value.message
