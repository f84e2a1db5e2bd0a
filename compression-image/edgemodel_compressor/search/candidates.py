"""One way to compress a model, its name, and what a recipe may not say. Pure."""

from dataclasses import dataclass

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_contract.task import Pruning, Quantization, Recipe, Recovery

ORIGINAL = "original"


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
    for applies, message in (*_contradictions(recipe), *(() if has_dataset else _lacks(recipe))):
        if applies:
            raise TaskError("InvalidTask", message)


def _contradictions(recipe: Recipe) -> tuple[tuple[bool, str], ...]:
    pruning, quantization, limits = recipe.pruning, recipe.quantization, recipe.objectives
    return (
        (
            pruning is not None and not (0 < pruning.sparsity < 1 or (pruning.sparsity == 0 and pruning.depth)),
            f"compression.pruning.sparsity is {pruning.sparsity if pruning else 0:g}; give the share of weights to "
            "remove, between 0 and 1.",
        ),
        (
            pruning is not None and not 0 <= pruning.depth <= 1,
            f"compression.pruning.depth is {pruning.depth if pruning else 0:g}; give the share of residual branches to "
            "remove, up to 1.",
        ),
        (
            recipe.mode == "Manual" and not (pruning or quantization),
            "compression.mode is Manual, but neither pruning nor quantization is given; name one, or use Auto or None.",
        ),
        (
            recipe.mode != "Manual" and bool(pruning or quantization or recipe.recovery),
            "compression.pruning, quantization and recovery are only read in mode Manual; set the mode to Manual, or "
            "remove them.",
        ),
        (
            recipe.recovery is not None and pruning is None,
            "compression.recovery trains what pruning has hurt; add pruning, or remove recovery.",
        ),
        (
            quantization is not None and quantization.bits == 4 and quantization.method != "WeightOnly",
            "compression.quantization.bits is 4, which only method WeightOnly has; use 8.",
        ),
        *(
            (value is not None and value <= 0, f"compression.objectives.{name} is {value}; give more than zero.")
            for name, value in (("maxSize", limits.max_size), ("maxLatency", limits.max_latency))
        ),
    )


def _lacks(recipe: Recipe) -> tuple[tuple[bool, str], ...]:
    advice = "add a dataset (compression.dataset, --dataset)"
    return (
        (
            recipe.quantization is not None and recipe.quantization.method == "Static",
            f"Static quantization is calibrated on samples; {advice}, or quantize dynamically.",
        ),
        (
            recipe.pruning is not None and recipe.pruning.depth > 0,
            f"Residual branches are chosen by what samples show; {advice}, or remove compression.pruning.depth.",
        ),
        (recipe.recovery is not None, f"Recovery trains on samples; {advice}, or remove compression.recovery."),
        (
            recipe.metric is not None,
            f"compression.metric is {recipe.metric}, which cannot be measured without samples; {advice}, or remove it.",
        ),
        (
            bool(recipe.judge),
            f"compression.judge says how outputs are judged, which takes samples; {advice}, or remove it.",
        ),
        (
            recipe.objectives.max_accuracy_drop is not None,
            f"compression.objectives.maxAccuracyDrop cannot be measured without samples; {advice}, or remove the "
            "objective.",
        ),
    )
