"""Which nodes lose most by being quantized: estimated for all, measured for the worst, by the outputs of the model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from edgemodel_compressor.graph.files import remove, scratch
from edgemodel_compressor.graph.quantization.apply import quantize
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration
from edgemodel_compressor.graph.quantization.calibration.histogram import BINS, Histogram
from edgemodel_compressor.graph.quantization.calibration.ranges import Range
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.methods.static import left_in_float, static
from edgemodel_compressor.graph.quantization.operators import ARITHMETIC, channel_axis, weighted
from edgemodel_compressor.graph.quantization.prepare import prepare
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.onnxmodel.modelfile import read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session

MEASURED = 24
"""Nodes that are measured by default; a measurement quantizes one node and runs the model."""


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing one node costs: noise power over signal power, of the model's outputs where ``measured``.

    An estimate is of the node's own weight and input, and so no more than an order.
    """

    node: str
    noise: float
    measured: bool


def sensitivity(
    source: Path,
    feeds: Sequence[Feed],
    recipe: QuantizationRecipe,
    calibration: Calibration,
    cpu: TargetCpu,
    folder: Path,
    most: int = MEASURED,
    advance: Callable[[], None] = lambda: None,
) -> list[Sensitivity]:
    """The nodes of the prepared graph that a ``Static`` recipe quantizes, noisiest first.

    Each of the ``most`` nodes that the estimate puts first is measured on ``feeds``: this one quantized, and no other.
    So both ends of a tensor that 8 bits cannot hold show, where leaving out only one of them would change nothing. The
    measured nodes come first, the others follow by estimate.
    ``advance`` is called per measurement.

    Raises:
        NotApplicableError: the recipe does not apply to this model.
        ValueError: the recipe is not ``Static``.
    """
    if recipe.method != "Static":
        raise ValueError("sensitivity is of static quantization")
    prepared = prepare(source, folder)
    estimated = sorted(
        (
            (_estimate(*item, recipe, calibration, cpu), item[0].name)
            for item in _candidates(prepared, recipe, calibration)
        ),
        key=lambda pair: (-pair[0], pair[1]),
    )
    truth = _outputs(prepared, feeds, cpu)
    target = scratch(folder, "sensitivity", prepared)

    measured = []
    for _, name in estimated[:most]:
        write_model(static(prepared, recipe, calibration, cpu, only=(name,)), target)
        measured.append(Sensitivity(name, noise_ratio(truth, _outputs(target, feeds, cpu)), measured=True))
        advance()
    remove(target)
    measured.sort(key=lambda item: (-item.noise, item.node))
    return [*measured, *(Sensitivity(name, estimate, measured=False) for estimate, name in estimated[most:])]


def noise_ratio(truth: Sequence[Array], answer: Sequence[Array]) -> float:
    """Power of the difference over power of the truth, over all arrays: 10^(-SQNR/10)."""
    noise = sum(_noise(a.astype(np.float64), b) for a, b in zip(truth, answer, strict=True))
    signal = sum(float(np.sum(np.square(a, dtype=np.float64))) for a in truth)
    return noise / signal if signal else noise


def _noise(truth: NDArray[np.float64], answer: Array) -> float:
    # Where as many rows come out as something was found, an answer of another shape has lost all of it.
    return float(np.sum(np.square(truth - answer if truth.shape == answer.shape else truth)))


def _outputs(path: Path, feeds: Sequence[Feed], cpu: TargetCpu) -> list[Array]:
    answers = Session(path, 1, widened=not cpu.reduce_range).run_each(feeds)
    return [output for outputs in answers for output in outputs if output.dtype.kind == "f"]


def _candidates(
    prepared: Path, recipe: QuantizationRecipe, calibration: Calibration
) -> Iterator[tuple[NodeProto, TensorProto | None]]:
    """Nodes that are quantized and lose precision of their own, with their weight if they have one."""
    model = read_model(prepared)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    spared = left_in_float(model, recipe, calibration)
    for node in model.graph.node:
        if node.name in spared:
            continue
        if weighted(node, constants):
            yield node, constants[node.input[1] if node.input[1] in constants else node.input[0]]
        elif node.op_type in ARITHMETIC:
            yield node, None


def _estimate(
    node: NodeProto,
    weight: TensorProto | None,
    recipe: QuantizationRecipe,
    calibration: Calibration,
    cpu: TargetCpu,
) -> float:
    """Noise ratio of the weight plus that of the inputs: independent noise adds up in a product."""
    ranges = calibration.ranges(recipe.calibration)
    total = 0.0 if weight is None else _weight_noise(node, weight, recipe.per_channel, 127 if cpu.reduce_range else 254)
    for name in node.input:
        if name in calibration.histograms:
            total += _activation_noise(calibration.histograms[name], ranges[name])
    return total


def _weight_noise(node: NodeProto, weight: TensorProto, per_channel: bool, steps: int) -> float:
    values = numpy_helper.to_array(weight).astype(np.float64)
    axis = channel_axis(node, values.ndim) if per_channel else None
    others = tuple(index for index in range(values.ndim) if index != axis)
    scales = 2 * np.abs(values).max(axis=others, keepdims=True, initial=0.0) / steps
    rounded = np.rint(np.divide(values, scales, out=np.zeros_like(values), where=scales > 0)) * scales
    power = float(np.sum(values**2))
    return float(np.sum((rounded - values) ** 2)) / power if power else 0.0


def _activation_noise(histogram: Histogram, bounds: Range) -> float:
    """Noise ratio of rounding to 255 steps within ``bounds`` and clipping outside."""
    low, high = bounds
    step = (high - low) / 255
    if not histogram.limit or step == 0:
        return 0.0
    centers = (np.arange(BINS) + 0.5) * (2 * histogram.limit / BINS) - histogram.limit
    clipped = np.clip(centers, low, high) - centers
    signal = float(np.sum(histogram.counts * centers**2))
    noise = float(np.sum(histogram.counts * (clipped**2 + step**2 / 12)))
    return noise / signal if signal else 0.0


def restore(
    source: Path,
    target: Path,
    recipe: QuantizationRecipe,
    nodes: Sequence[str],
    calibration: Calibration | None,
    cpu: TargetCpu,
    folder: Path,
) -> QuantizationRecipe:
    """Write what ``recipe`` makes of ``source`` with ``nodes`` left in float, too; returns the recipe that says so.

    Raises:
        NotApplicableError: nothing is left to quantize.
    """
    mixed = replace(recipe, excluded=tuple(dict.fromkeys((*recipe.excluded, *nodes))))
    quantize(source, target, mixed, calibration, cpu, folder)
    return mixed
