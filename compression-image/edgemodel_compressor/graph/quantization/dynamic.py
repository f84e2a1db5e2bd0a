"""Weights as 8-bit integers, activations quantized while running: no data needed."""

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime import quantization as ortq

from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.files import scratch
from edgemodel_compressor.graph.quantization.prepare import explained, quiet
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.modelfile import is_large, read_model

_OPERATORS = ("Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul")


def dynamic(prepared: Path, recipe: QuantizationRecipe, cpu: TargetCpu, folder: Path) -> onnx.ModelProto:
    """The model at ``prepared`` with integer weights. ``folder`` takes temporary files.

    Weights have one scale each: one per column makes MatMulInteger slower, and is hardly more accurate.

    Raises:
        NotApplicableError: the tool fails on this model.
    """
    between, target = scratch(folder, "convolutions", prepared), scratch(folder, "dynamic", prepared)
    with explained(), quiet():
        large = is_large(read_model(prepared))
        # ONNX Runtime's ConvInteger takes unsigned weights only, while signed ones make the faster MatMulInteger.
        passes = (
            (prepared, between, ["Conv"], ortq.QuantType.QUInt8),
            (between, target, list(_OPERATORS), ortq.QuantType.QInt8),
        )
        for source, result, operators, weights in passes:
            ortq.quantize_dynamic(
                source,
                result,
                op_types_to_quantize=operators,
                weight_type=weights,
                reduce_range=cpu.reduce_range,
                nodes_to_exclude=sorted(recipe.excluded),
                use_external_data_format=large,
                # Behind a fused operator no shape or type is inferred, and everything here is FP32.
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
            )
        return read_model(target)
