"""Which models to try for a recipe. Pure."""

from dataclasses import dataclass
from typing import Literal

from edgemodel_compressor.errors import TaskError
from edgemodel_contract.task import Pruning, Recipe

ORIGINAL = "original"
AUTO_SPARSITY = 0.5
"""Without retraining, half of the weights is about what magnitude pruning takes before accuracy breaks."""


@dataclass(frozen=True)
class Method:
    """One way to compress; ``pruning`` comes first."""

    pruning: Pruning | None = None
    quantization: Literal["Dynamic", "Static"] | None = None

    @property
    def name(self) -> str:
        """``prune-0.5+static-int8``, ``dynamic-int8``, ``prune-0.3-layer`` …"""
        parts = []
        if self.pruning:
            scope = "-layer" if self.pruning.scope == "Layer" else ""
            parts.append(f"prune-{self.pruning.sparsity:g}{scope}")
        if self.quantization:
            parts.append(f"{self.quantization.lower()}-int8")
        return "+".join(parts)


def methods(recipe: Recipe, has_dataset: bool) -> tuple[Method, ...]:
    """The candidates beside the original.

    ``Manual`` names exactly one. ``Auto`` tries dynamic quantization, and with a dataset to judge by also static
    quantization with and without pruning; a named pruning or quantization narrows what it tries. ``None`` tries none.

    Raises:
        TaskError: InvalidTask where the recipe contradicts itself or lacks its dataset.
    """
    named = recipe.quantization.method if recipe.quantization else None
    _check(recipe, has_dataset)
    if recipe.mode == "None":
        return ()
    if recipe.mode == "Manual":
        return (Method(recipe.pruning, named),)
    if not has_dataset:
        return (Method(None, "Dynamic"),)
    pruning = recipe.pruning or Pruning(sparsity=AUTO_SPARSITY)
    tried = [Method(None, "Dynamic"), Method(None, "Static"), Method(pruning, named or "Static")]
    return tuple(method for method in tried if named in (None, method.quantization))


def _check(recipe: Recipe, has_dataset: bool) -> None:
    if recipe.pruning and not 0 < recipe.pruning.sparsity < 1:
        raise TaskError(
            "InvalidTask",
            f"compression.pruning.sparsity is {recipe.pruning.sparsity:g}; give the share of weights to remove, "
            "between 0 and 1.",
        )
    if recipe.mode == "Manual" and not (recipe.pruning or recipe.quantization):
        raise TaskError(
            "InvalidTask",
            "compression.mode is Manual, but neither pruning nor quantization is given; name one, or use Auto or None.",
        )
    static = recipe.quantization is not None and recipe.quantization.method == "Static"
    if static and recipe.mode != "None" and not has_dataset:
        raise TaskError(
            "InvalidTask",
            "Static quantization is calibrated on samples; add a dataset (compression.dataset, --dataset), or quantize "
            "dynamically.",
        )
    limits = recipe.objectives
    if limits.max_accuracy_drop is not None and not has_dataset:
        raise TaskError(
            "InvalidTask",
            "compression.objectives.maxAccuracyDrop cannot be measured without samples; add a dataset "
            "(compression.dataset, --dataset), or remove the objective.",
        )
    for name, value in (("maxSize", limits.max_size), ("maxLatency", limits.max_latency)):
        if value is not None and value <= 0:
            raise TaskError("InvalidTask", f"compression.objectives.{name} is {value}; give more than zero.")
