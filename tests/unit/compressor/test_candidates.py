"""How methods are called, and which recipes contradict themselves."""

import pytest

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.search.candidates import Method, check_recipe, named_method
from edgemodel_contract.task import Objectives, Pruning, Quantization, Recipe, Recovery

STATIC = Quantization(method="Static")
HALF = Pruning(sparsity=0.5, method="Structured")
STATIC_INTEGERS = QuantizationRecipe("Static")


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(mode="Manual", quantization=STATIC), "static-int8"),
        (Recipe(mode="Manual", quantization=Quantization(method="WeightOnly", bits=4)), "weight-int4"),
        (Recipe(mode="Manual", quantization=Quantization(method="Float16")), "fp16"),
        (
            Recipe(mode="Manual", quantization=Quantization(method="Static", calibration="Entropy")),
            "static-int8-entropy",
        ),
        (Recipe(mode="Manual", pruning=Pruning(sparsity=0.75)), "prune-0.75"),
        (Recipe(mode="Manual", pruning=Pruning(sparsity=0.5, scope="Layer")), "prune-0.5-layer"),
        (Recipe(mode="Manual", pruning=HALF, recovery=Recovery()), "structured-0.5+recovered"),
        (Recipe(mode="Manual", pruning=Pruning(depth=0.5)), "depth-0.5"),
        (
            Recipe(mode="Manual", pruning=Pruning(depth=0.25, sparsity=0.5, method="Structured"), recovery=Recovery()),
            "depth-0.25+structured-0.5+recovered",
        ),
        (
            Recipe(mode="Manual", pruning=HALF, recovery=Recovery(method="Distillation"), quantization=STATIC),
            "structured-0.5+recovered-distilled+static-int8",
        ),
    ],
)
def test_a_recipe_in_manual_names_one_method(recipe: Recipe, name: str) -> None:
    check_recipe(recipe, has_dataset=True)
    assert named_method(recipe).name == name


def test_mixed_precision_shows_in_the_name() -> None:
    method = Method(HALF, None, QuantizationRecipe("Static"), mixed=True)
    assert method.name == "structured-0.5+static-int8-mixed"
    assert method.floats == Method(HALF)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(mode="Manual"), "mode Manual needs pruning or quantization"),
        (
            Recipe(mode="Manual", quantization=STATIC),
            "static quantization is calibrated on data: add compression.dataset",
        ),
        (Recipe(mode="Manual", pruning=HALF, recovery=Recovery()), "recovery trains on data: add compression.dataset"),
        (Recipe(mode="Manual", quantization=STATIC, recovery=Recovery()), "add pruning, or remove recovery"),
        (
            Recipe(mode="Manual", quantization=Quantization(method="Dynamic", bits=4)),
            "4 bits are for quantization.method WeightOnly",
        ),
        (Recipe(quantization=STATIC), "only read in mode Manual"),
        (Recipe(mode="None", pruning=HALF), "only read in mode Manual"),
        (Recipe(metric="Top5"), "metric is measured on data: add compression.dataset"),
        (Recipe(objectives=Objectives(max_accuracy_drop=0.01)), "objectives.maxAccuracyDrop is measured on data"),
        (Recipe(mode="Manual", pruning=Pruning(sparsity=0.0)), "compression.pruning: pruning needs sparsity or depth"),
        (Recipe(mode="Manual", pruning=Pruning(sparsity=1.0)), "compression.pruning.sparsity: Expected float < 1.0"),
        (Recipe(mode="Manual", pruning=Pruning(depth=1.5)), "compression.pruning.depth: Expected float <= 1.0"),
        (
            Recipe(mode="Manual", pruning=Pruning(depth=0.5)),
            "pruning.depth is measured on data: add compression.dataset",
        ),
        (Recipe(objectives=Objectives(max_size=0)), "compression.objectives: maxSize must be more than zero"),
        (Recipe(objectives=Objectives(max_latency=0.0)), "maxLatency must be more than zero"),
    ],
)
def test_what_cannot_be_done_without_a_dataset_or_at_all(recipe: Recipe, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        check_recipe(recipe, has_dataset=False)
    assert caught.value.reason == "InvalidTask"
    assert words in caught.value.message


def test_branches_go_before_channels_and_are_trained_alike() -> None:
    both = Method(Pruning(depth=0.25, sparsity=0.5, method="Structured"), Recovery(epochs=3), STATIC_INTEGERS)
    assert both.shallow == Method(Pruning(depth=0.25), Recovery(epochs=3))
    assert Method(HALF).shallow == Method()
