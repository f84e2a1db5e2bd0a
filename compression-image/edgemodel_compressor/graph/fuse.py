"""The forms in which ONNX Runtime computes a transformer fastest on a CPU.

``fuse`` makes attention one operator, with onnxruntime.transformers, which knows it as both of torch's exporters write
it: dynamic quantization then multiplies with the three projections as one matrix (QAttention). ``keep_norms_apart``
keeps ONNX Runtime from its own SkipLayerNormalization, whose CPU kernel takes several times as long as the Add and the
LayerNormalization it replaces.
"""

from pathlib import Path

import numpy as np
import onnx
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.quantization.files import scratch
from edgemodel_compressor.graph.quantization.prepare import explained, quiet
from edgemodel_compressor.modelfile import is_large, read_model, write_model
from edgemodel_compressor.runtime import Array, Feed, Session

TOLERANCE = 1e-3
"""Largest difference of an output, relative to its largest value or to 1."""
FUSED = ("Attention", "MultiHeadAttention")
_BATCH, _LENGTH = 2, 8
"""What open dimensions become where no example is at hand."""


def fuse(prepared: Path, folder: Path, example: Feed | None = None) -> Path:
    """The prepared model with its attention fused, as a file in ``folder``.

    The result is compared with the model it was made of, on ``example`` or on made-up inputs.

    Raises:
        NotApplicableError: nothing can be fused, or the result answers differently.
    """
    target = scratch(folder, "fused", prepared)
    with explained(), quiet():
        model = read_model(prepared)
        if is_large(model):
            raise NotApplicableError("it is too large to be fused")
        marks = list(model.metadata_props)
        options = FusionOptions("bert")
        # The rest is slower on CPUs, or done by the runtime itself, or (embeddings) wants tokens as int32.
        options.enable_embed_layer_norm = options.enable_bias_gelu = False
        options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
        fused = optimizer.optimize_by_fusion(model, "bert", optimization_options=options).model
        if not any(node.op_type in FUSED for node in fused.graph.node):
            raise NotApplicableError("it has no attention that could be fused")
        del fused.metadata_props[:]
        fused.metadata_props.extend(marks)
        write_model(fused, target)
        _require_equal(prepared, target, example or _made_up(fused))
    return target


def keep_norms_apart(model: onnx.ModelProto) -> None:
    """Write each Add before a LayerNormalization as a Sum of two, in place: the same result, and no pattern to fuse."""
    normed = {node.input[0] for node in model.graph.node if node.op_type == "LayerNormalization"}
    for node in model.graph.node:
        if node.op_type == "Add" and node.output[0] in normed:
            node.op_type = "Sum"


def _require_equal(before: Path, after: Path, feed: Feed) -> None:
    for one, other in zip(Session(before, 1).run(feed), Session(after, 1).run(feed), strict=True):
        scale = max(1.0, float(np.abs(one).max(initial=0)))
        if one.shape != other.shape or not np.all(np.abs(one - other) <= TOLERANCE * scale):
            raise NotApplicableError("its fused form gives other answers")


def _made_up(model: onnx.ModelProto) -> Feed:
    """Noise for floats and ones for integers, which as tokens are known and as a mask hide nothing."""
    random = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    feed: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value or (_BATCH if axis == 0 else _LENGTH) for axis, dim in enumerate(kind.shape.dim)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        feed[value.name] = random.normal(size=shape).astype(dtype) if dtype.kind == "f" else np.ones(shape, dtype)
    return feed
