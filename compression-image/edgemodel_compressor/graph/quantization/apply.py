"""A recipe carried out: from a float model file to a quantized one."""

from pathlib import Path

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.fuse import fuse, keep_norms_apart
from edgemodel_compressor.graph.quantization.calibration.calibration import Calibration
from edgemodel_compressor.graph.quantization.cpu import TargetCpu
from edgemodel_compressor.graph.quantization.methods.convolutions import store_widened
from edgemodel_compressor.graph.quantization.methods.dynamic import dynamic
from edgemodel_compressor.graph.quantization.methods.half import store_half
from edgemodel_compressor.graph.quantization.methods.static import static
from edgemodel_compressor.graph.quantization.methods.weight_only import weight_only
from edgemodel_compressor.graph.quantization.operators import INTEGER_OPERATORS
from edgemodel_compressor.graph.quantization.prepare import explained, prepare
from edgemodel_compressor.graph.quantization.recipe import QuantizationRecipe
from edgemodel_compressor.graph.quantization.tied import share_floats
from edgemodel_compressor.graph.tidy import tidy
from edgemodel_compressor.onnxmodel.modelfile import read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Feed


def quantize(
    source: Path,
    target: Path,
    recipe: QuantizationRecipe,
    calibration: Calibration | None,
    cpu: TargetCpu,
    folder: Path,
    example: Feed | None = None,
) -> None:
    """Write to ``target`` what ``recipe`` makes of the float model at ``source``: the same bytes on every run.

    ``calibration`` is of the same source, and needed for ``Static`` only. ``folder`` takes temporary files; what
    ``prepare`` made there may be given as ``source``, to save preparing it anew. ``example`` is what a fused graph is
    checked on.

    Raises:
        NotApplicableError: the recipe does not apply to this model, or finds nothing to do.
        ValueError: ``Static`` without calibration.
    """
    prepared = prepare(source, folder)
    if recipe.fused:
        prepared = fuse(prepared, folder, example)
    if recipe.method == "Dynamic":
        model = dynamic(prepared, recipe, cpu, folder)
    elif recipe.method == "Static":
        if calibration is None:
            raise ValueError("static quantization needs a calibration")
        model = static(prepared, recipe, calibration, cpu)
    else:
        model = read_model(prepared)
        if recipe.method == "WeightOnly":
            with explained():
                if recipe.widened:
                    share_floats(model)
                changed = (0 if recipe.widened else weight_only(model, recipe)) + store_widened(model, recipe)
            if not changed:
                raise NotApplicableError("it has no MatMul, Gemm, Gather or Conv with weights of its own")
    if recipe.method in ("Dynamic", "Static") and not any(
        node.op_type in INTEGER_OPERATORS for node in model.graph.node
    ):
        raise NotApplicableError("it has no operator that integers would help")
    if recipe.method == "FP16":
        share_floats(model)
    if recipe.method == "FP16" and not store_half(model):
        raise NotApplicableError("it has no FP32 weights that half precision could hold")
    if recipe.method != "FP16" and recipe.float_storage == "fp16":
        store_half(model)
    if recipe.method != "Static":
        keep_norms_apart(model)
    tidy(model)
    write_model(model, target)
