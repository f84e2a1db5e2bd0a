"""Which candidates a recipe asks for, and which recipes contradict themselves."""

import pytest

from edgemodel_compressor.candidates import methods
from edgemodel_compressor.errors import TaskError
from edgemodel_contract.task import Objectives, Pruning, Quantization, Recipe

STATIC, DYNAMIC = Quantization(method="Static"), Quantization(method="Dynamic")


def names(recipe: Recipe, has_dataset: bool = True) -> list[str]:
    return [method.name for method in methods(recipe, has_dataset)]


def test_auto_tries_more_with_a_dataset_to_judge_by() -> None:
    assert names(Recipe()) == ["dynamic-int8", "static-int8", "prune-0.5+static-int8"]
    assert names(Recipe(), has_dataset=False) == ["dynamic-int8"]


def test_what_is_named_narrows_what_auto_tries() -> None:
    assert names(Recipe(quantization=DYNAMIC)) == ["dynamic-int8", "prune-0.5+dynamic-int8"]
    pruned = Recipe(quantization=STATIC, pruning=Pruning(sparsity=0.3, scope="Layer"))
    assert names(pruned) == ["static-int8", "prune-0.3-layer+static-int8"]


def test_manual_is_exactly_what_is_named() -> None:
    assert names(Recipe(mode="Manual", quantization=STATIC)) == ["static-int8"]
    assert names(Recipe(mode="Manual", pruning=Pruning(sparsity=0.75))) == ["prune-0.75"]
    both = Recipe(mode="Manual", pruning=Pruning(sparsity=0.5), quantization=DYNAMIC)
    assert names(both, has_dataset=False) == ["prune-0.5+dynamic-int8"]


def test_none_tries_nothing() -> None:
    assert names(Recipe(mode="None", quantization=STATIC), has_dataset=False) == []


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(mode="Manual"), "neither pruning nor quantization"),
        (Recipe(mode="Manual", quantization=STATIC), "add a dataset (compression.dataset, --dataset)"),
        (Recipe(quantization=STATIC), "add a dataset (compression.dataset, --dataset)"),
        (Recipe(objectives=Objectives(max_accuracy_drop=0.01)), "maxAccuracyDrop cannot be measured"),
        (Recipe(pruning=Pruning(sparsity=0.0)), "sparsity is 0"),
        (Recipe(pruning=Pruning(sparsity=1.0)), "sparsity is 1"),
        (Recipe(objectives=Objectives(max_size=0)), "maxSize is 0"),
        (Recipe(objectives=Objectives(max_latency=0.0)), "maxLatency is 0"),
    ],
)
def test_what_cannot_be_done_without_a_dataset_or_at_all(recipe: Recipe, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        methods(recipe, has_dataset=False)
    assert caught.value.reason == "InvalidTask"
    assert words in caught.value.message
