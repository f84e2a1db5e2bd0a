"""Weights and activations as 8-bit integers, in QDQ form: the runtime fuses the pairs into integer kernels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnxruntime import quantization as ortq
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration
from edgemodel_compressor.graph.quantization.calibration.histogram import FORBIDDING
from edgemodel_compressor.graph.quantization.calibration.ranges import Range
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.methods.bias import correct_biases
from edgemodel_compressor.graph.quantization.operators import ARITHMETIC, CARRIERS, WEIGHTED, idle_carriers, weighted
from edgemodel_compressor.graph.quantization.prepare import explained, quiet
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.quantization.tied import lookups, share_integers, twins
from edgemodel_compressor.graph.tidy import drop_unused
from edgemodel_compressor.onnxmodel.modelfile import read_model


def static(
    prepared: Path,
    recipe: QuantizationRecipe,
    calibration: Calibration,
    cpu: TargetCpu,
    only: Sequence[str] = (),
    tied: bool = True,
) -> onnx.ModelProto:
    """The model at ``prepared`` with every operator that integers help quantized, but the excluded ones.

    ``only`` names the nodes to quantize instead of all. ``tied`` weights are stored once, where they can be.

    Raises:
        NotApplicableError: the tool fails on this model.
    """
    with explained(), quiet():
        model = read_model(prepared)
        excluded = left_in_float(model, recipe, calibration)
        pairs = twins(model) if tied and not only else {}
        excluded |= lookups(model, pairs)
        quantizer = QDQQuantizer(
            model,
            recipe.per_channel,
            cpu.reduce_range,
            ortq.QuantType.QInt8,
            ortq.QuantType.QInt8 if cpu.signed_activations else ortq.QuantType.QUInt8,
            _tensors(calibration.ranges(recipe.calibration)),
            list(only),
            [] if only else sorted(excluded),
            sorted({*WEIGHTED, *CARRIERS}),
            {},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        quantized: onnx.ModelProto = quantizer.model.model
        _widen_biases(quantized)
        if not recipe.per_channel:
            weights = {tensor.name: tensor for tensor in read_model(prepared).graph.initializer}
            correct_biases(quantized, weights, calibration.means)
        _answer_in_float(quantized)
        if not share_integers(quantized, pairs):
            return static(prepared, recipe, calibration, cpu, tied=False)
        drop_unused(quantized)
    return quantized


def left_in_float(model: onnx.ModelProto, recipe: QuantizationRecipe, calibration: Calibration) -> set[str]:
    """The nodes of the prepared ``model`` that are not quantized.

    What the recipe names, products of two activations, carriers of masks, and what would carry integers between float
    operators.

    Raises:
        NotApplicableError: nothing is left to quantize.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    products = {node.name for node in model.graph.node if node.op_type in WEIGHTED and not weighted(node, constants)}
    masking = {node.name for node in model.graph.node if _masks(node, constants, calibration)}
    excluded = products | masking | set(recipe.excluded)
    others = [node for node in model.graph.node if node.name not in excluded]
    quantized = {node.name for node in others if node.op_type in WEIGHTED}
    if not quantized:
        raise NotApplicableError("it has no operator left that integers would help")
    return excluded | set(idle_carriers(others, quantized))


def _masks(node: onnx.NodeProto, constants: Mapping[str, TensorProto], calibration: Calibration) -> bool:
    """Whether a carrier reads or writes what forbids places. A constant is a mask only where it is calculated with:
    bounds of a Clip are as large, and are no mask."""
    if node.op_type not in CARRIERS:
        return False
    seen = (calibration.histograms.get(name) for name in (*node.input, *node.output))
    if any(histogram.masks for histogram in seen if histogram is not None):
        return True
    fixed = [constants[name] for name in node.input if name in constants] if node.op_type in ARITHMETIC else []
    return any(np.abs(numpy_helper.to_array(tensor)).max(initial=0) >= FORBIDDING for tensor in fixed)


def _tensors(ranges: Mapping[str, Range]) -> TensorsData:
    return TensorsData(
        CalibrationMethod.MinMax,
        {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()},
    )


def _widen_biases(model: onnx.ModelProto) -> None:
    """Biases of 32-bit integers become the floats they stand for; the runtime makes them integers again as it loads.

    A float takes four bytes per channel, an integer with its scale and its zero point twelve.
    """
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        tensor = known.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if tensor is None or tensor.data_type != TensorProto.INT32:
            kept.append(node)
            continue
        scale = numpy_helper.to_array(known[node.input[1]]).astype(np.float64)
        bias = (numpy_helper.to_array(tensor) * scale).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(bias, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _answer_in_float(model: onnx.ModelProto) -> None:
    """Outputs of matrix products are not rounded to 8 bits where the graph ends: 256 levels make scores equal.

    Other operators have no integer kernel that answers in float, and keep their last pair.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for output in graph.output:
        widen = producers.get(output.name)
        narrow = producers.get(widen.input[0]) if widen is not None and widen.op_type == "DequantizeLinear" else None
        if widen is None or narrow is None or narrow.op_type != "QuantizeLinear" or output.name in readers:
            continue
        product = producers.get(narrow.input[0])
        if product is None or product.op_type not in ("Gemm", "MatMul") or readers[narrow.input[0]] != 1:
            continue
        if readers[narrow.output[0]] != 1:
            continue
        product.output[0] = output.name
        graph.node.remove(widen)
        graph.node.remove(narrow)
