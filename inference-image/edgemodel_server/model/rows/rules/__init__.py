"""How each operator treats the batch.

* ``shapes``       shapes and sizes
* ``elementwise``  element by element
* ``selection``    parts of tensors
* ``products``     matrix products, convolutions, pooling
* ``reductions``   sums, norms, largest values, images of another size
* ``recurrent``    LSTM and its kind
* ``contrib``      attention, and ONNX Runtime's own operators
* ``classic``      trees, linear models and their kind
"""

from collections.abc import Mapping

from edgemodel_server.model.rows.rules import (
    classic,
    contrib,
    elementwise,
    products,
    recurrent,
    reductions,
    selection,
    shapes,
)

RULES: Mapping[tuple[str, str], shapes.Rule] = {
    **shapes.RULES,
    **elementwise.RULES,
    **selection.RULES,
    **products.RULES,
    **reductions.RULES,
    **recurrent.RULES,
    **contrib.RULES,
    **classic.RULES,
}
"""By domain and name. An operator that is not here is never trusted with rows of several requests."""

_SCALE = "takes its scale from the whole batch"
_COUNT = "makes as many results as its input's values decide"
_BODY = "runs a graph of its own, which is not followed"

KNOWN_TO_MIX: Mapping[str, str] = {
    "Compress": _COUNT,
    "DynamicQuantizeLSTM": _SCALE,
    "DynamicQuantizeLinear": _SCALE,
    "DynamicQuantizeMatMul": _SCALE,
    "If": _BODY,
    "Loop": _BODY,
    "NonMaxSuppression": _COUNT,
    "NonZero": _COUNT,
    "Scan": _BODY,
    "StringSplit": "makes rows as long as the longest of the batch",
    "Unique": _COUNT,
}
"""Why some operators are not in RULES, for people."""

_SIZED_BY_VALUES = ["ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"]
_QUANTIZED_WHILE_RUNNING = [("", "DynamicQuantizeLinear"), ("com.microsoft", "DynamicQuantizeMatMul")]
STEADY = {*RULES, *_QUANTIZED_WHILE_RUNNING} - {("", name) for name in _SIZED_BY_VALUES}
"""Operators whose time depends on the sizes of their inputs alone, and not on values."""
