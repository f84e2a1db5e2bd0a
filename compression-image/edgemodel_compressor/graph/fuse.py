"""The forms in which ONNX Runtime computes a transformer fastest on a CPU.

``fuse`` makes attention one operator, with onnxruntime.transformers, which knows it as both of torch's exporters write
it: dynamic quantization then multiplies with the three projections as one matrix (QAttention). ``keep_norms_apart``
keeps ONNX Runtime from its own SkipLayerNormalization, whose CPU kernel takes several times as long as the Add and the
LayerNormalization it replaces.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.transformers.onnx_model_bert import BertOnnxModel

from edgemodel_compressor.errors import NotApplicableError
from edgemodel_compressor.graph.files import scratch
from edgemodel_compressor.graph.quantization.operators import DOMAIN
from edgemodel_compressor.graph.quantization.prepare import explained, quiet
from edgemodel_compressor.graph.tidy import drop_unused
from edgemodel_compressor.onnxmodel.modelfile import is_large, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session

TOLERANCE = 1e-3
"""Largest difference of an output, relative to its largest value or to 1."""
FUSED_OPERATORS = ("Attention", "MultiHeadAttention")
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
        transformer = BertOnnxModel(model, *_heads(model))
        # Not its whole optimization: the rest is slower on CPUs or done by the runtime itself, and wants a computer
        # algebra system to infer shapes.
        transformer.fuse_layer_norm()
        transformer.fuse_gelu()
        transformer.fuse_reshape()
        transformer.fuse_attention()
        transformer.topological_sort()
        fused = transformer.model
        drop_unused(fused)
        if not any(node.op_type in FUSED_OPERATORS and node.domain == DOMAIN for node in fused.graph.node):
            raise NotApplicableError("it has no attention that could be fused")
        del fused.metadata_props[:]
        fused.metadata_props.extend(marks)
        write_model(fused, target)
        _require_equal(prepared, target, example or _made_up(fused))
    return target


def _heads(model: onnx.ModelProto) -> tuple[int, int]:
    """The number of attention heads and the width of all together, as the first projection is split; (0, 0) if none is.

    The tool finds them by itself only where the split has a constant shape, and not one computed from the batch's.
    """
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        shape = producers.get(node.input[1]) if node.op_type == "Reshape" else None
        biased = producers.get(node.input[0]) if shape is not None else None
        if shape is None or biased is None or shape.op_type != "Concat" or len(shape.input) != 4:
            continue
        products = [producers[name] for name in biased.input if name in producers]
        weights = [known[name] for product in products for name in product.input if name in known]
        if biased.op_type == "Add" and weights and shape.input[2] in known:
            heads = int(numpy_helper.to_array(known[shape.input[2]]).item())
            return heads, weights[0].dims[-1]
    return 0, 0


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
    """Noise for floats; integers are one, then zero: tokens that are known, and a mask that hides the second half."""
    random = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    feed: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value or (_BATCH if axis == 0 else _LENGTH) for axis, dim in enumerate(kind.shape.dim)]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "f":
            feed[value.name] = random.normal(size=shape).astype(dtype)
        else:
            visible = np.indices(shape)[-1] < (shape[-1] + 1) // 2 if shape else np.ones(())
            feed[value.name] = visible.astype(dtype)
    return feed
