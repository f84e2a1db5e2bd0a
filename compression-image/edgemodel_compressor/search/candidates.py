"""One way to compress a model, its name, and what a recipe may not say. Pure."""

from dataclasses import dataclass

import msgspec

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_contract.spec import recipe_problem
from edgemodel_contract.task import Pruning, Quantization, Recipe, Recovery


@dataclass(frozen=True)
class Method:
    """``pruning`` comes first, then ``recovery``, then ``quantization``.

    ``mixed`` leaves the nodes that quantization hurts most as floats, as many as the accuracy needs.
    """

    pruning: Pruning | None = None
    recovery: Recovery | None = None
    quantization: QuantizationRecipe | None = None
    mixed: bool = False

    @property
    def name(self) -> str:
        """``structured-0.5+recovered+static-int8``, ``prune-0.3-layer``, ``depth-0.5+recovered``, ``dynamic-int8`` …"""
        parts = []
        if self.pruning and self.pruning.depth:
            parts.append(f"depth-{self.pruning.depth:g}")
        if self.pruning and self.pruning.sparsity:
            verb = "structured" if self.pruning.method == "Structured" else "prune"
            scope = "-layer" if self.pruning.scope == "Layer" else ""
            parts.append(f"{verb}-{self.pruning.sparsity:g}{scope}")
        if self.recovery:
            how = {None: "", "Labels": "-labels", "Distillation": "-distilled"}[self.recovery.method]
            parts.append(f"recovered{how}")
        if self.quantization:
            parts.append(self.quantization.name + ("-mixed" if self.mixed else ""))
        return "+".join(parts)

    @property
    def floats(self) -> "Method":
        """The same without quantization: the model that the integers are made of."""
        return Method(self.pruning, self.recovery)

    @property
    def shallow(self) -> "Method":
        """Of a method that takes out branches: these and nothing else, trained likewise, as floats."""
        if self.pruning is None or not self.pruning.depth:
            return Method()
        return Method(Pruning(depth=self.pruning.depth), self.recovery)


def named_method(recipe: Recipe) -> Method:
    """What mode ``Manual`` asks for."""
    return Method(recipe.pruning, recipe.recovery, _quantization(recipe.quantization))


def _quantization(named: Quantization | None) -> QuantizationRecipe | None:
    if named is None:
        return None
    method = "FP16" if named.method == "Float16" else named.method
    return QuantizationRecipe(method, bits=named.bits, calibration=named.calibration)


def check_recipe(recipe: Recipe, has_dataset: bool) -> None:
    """Refuse what contradicts itself or lacks its dataset.

    Raises:
        TaskError: InvalidTask, naming the field.
    """
    try:
        msgspec.convert(msgspec.to_builtins(recipe), Recipe)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace("`", "").partition(" - at $.")
        raise TaskError("InvalidTask", f"compression.{where}: {what}.") from error
    problem = recipe_problem(recipe, has_dataset=has_dataset)
    if problem is not None:
        raise TaskError("InvalidTask", f"{problem}.")
