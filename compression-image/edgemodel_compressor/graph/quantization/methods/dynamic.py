"""Weights as 8-bit integers, activations quantized while running: no data needed."""

from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime import quantization as ortq

from edgemodel_compressor.graph.files import remove, scratch
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.operators import DOMAIN
from edgemodel_compressor.graph.quantization.prepare import explained, quiet
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.quantization.tied import lookups, share_integers, twins
from edgemodel_compressor.graph.tidy import drop_unused
from edgemodel_compressor.onnxmodel.modelfile import is_large, read_model

_OPERATORS = ("Attention", "EmbedLayerNormalization", "Gather", "Gemm", "LSTM", "MatMul")


def dynamic(
    prepared: Path, recipe: QuantizationRecipe, cpu: TargetCpu, folder: Path, tied: bool = True
) -> onnx.ModelProto:
    """The model at ``prepared`` with integer weights. ``folder`` takes temporary files.

    Weights have one scale each, or one per column where the recipe says so. ``tied`` ones are stored once, where they
    can be.

    Raises:
        NotApplicableError: the tool fails on this model.
    """
    with explained(), quiet():
        model = read_model(prepared)
        # The tool takes ONNX's own Attention for onnxruntime's of the same name, and writes what no runtime loads.
        foreign = {node.name for node in model.graph.node if node.op_type == "Attention" and node.domain != DOMAIN}
        present = {node.op_type for node in model.graph.node if node.name not in foreign}
        large = is_large(model)
        pairs = twins(model) if tied else {}
        kept = foreign | lookups(model, pairs) | set(recipe.excluded)
        del model
        source = prepared
        # ONNX Runtime's ConvInteger takes unsigned weights only, while signed ones make the faster MatMulInteger.
        for operators, weights in ((("Conv",), ortq.QuantType.QUInt8), (_OPERATORS, ortq.QuantType.QInt8)):
            if present.isdisjoint(operators):
                continue
            target = scratch(folder, weights.name, source)
            ortq.quantize_dynamic(
                source,
                target,
                op_types_to_quantize=list(operators),
                weight_type=weights,
                # ConvInteger knows one zero point and one scale.
                per_channel=recipe.columns and weights == ortq.QuantType.QInt8,
                reduce_range=cpu.reduce_range,
                nodes_to_exclude=sorted(kept),
                use_external_data_format=large,
                # Behind a fused operator no shape or type is inferred, and everything here is FP32.
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
            )
            if source != prepared:
                remove(source)
            source = target
        result = read_model(source)
        if source != prepared:
            remove(source)
        if not share_integers(result, pairs):
            return dynamic(prepared, recipe, cpu, folder, tied=False)
        if pairs:
            drop_unused(result)
    return result
