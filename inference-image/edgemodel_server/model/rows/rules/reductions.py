"""Operators that bring the values along some dimensions together: sums, norms, largest values."""

from collections.abc import Mapping
from typing import Any

from edgemodel_server.model.rows.rules.elementwise import check_single
from edgemodel_server.model.rows.rules.shapes import Rule
from edgemodel_server.model.rows.sizes import AnySize, Size, depends_on_batch, equal, unknown
from edgemodel_server.model.rows.tensors import (
    Call,
    MixesError,
    Tensor,
    axis_of,
    broadcast,
    by_rows,
    shared,
    valued,
)

_REDUCTIONS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]
_OVER_THE_BATCH = "runs over the batch"


def reduce(call: Call) -> list[Tensor]:
    """One value of those along the dimensions ``axes``; without them of all."""
    source = call.input(0)
    axes = call.numbers_of("axes", 1)
    if not axes:
        if call.attribute("noop_with_empty_axes", 0):
            return [source]
        axes = list(range(source.rank))
    gone = {axis_of(axis, source.rank) for axis in axes}
    if call.node.operator in ("ReduceProd", "ReduceSum") and source.value is not None and len(gone) == source.rank:
        result = _folded(call.node.operator, source)
        return [valued([result] if call.attribute("keepdims", 1) and source.rank == 1 else result)]
    return [_without(source, gone, keep=bool(call.attribute("keepdims", 1)))]


def _folded(operator: str, source: Tensor) -> AnySize:
    result: AnySize = 1 if operator == "ReduceProd" else 0
    for item in source.value.flat if source.value is not None else ():
        result = result * item if operator == "ReduceProd" else result + item
    return result


def _without(source: Tensor, gone: set[int], *, keep: bool) -> Tensor:
    """``source`` with one element, or none, in place of the dimensions ``gone``."""
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    kept = [axis for axis in range(source.rank) if keep or axis not in gone]
    sizes: list[AnySize] = [1 if axis in gone else source.dimensions[axis] for axis in kept]
    if source.rows is None:
        return shared(sizes)
    if source.rows.axis in gone:
        raise MixesError(_OVER_THE_BATCH)
    return by_rows(sizes, source.rows.at(kept.index(source.rows.axis)))


def largest_place(call: Call) -> list[Tensor]:
    """ArgMax and ArgMin: the place along one dimension."""
    source = call.input(0)
    axis = axis_of(call.attribute("axis", 0), source.rank)
    return [_without(source, {axis}, keep=bool(call.attribute("keepdims", 1)))]


def softmax(call: Call) -> list[Tensor]:
    """Shares along one dimension; before version 13 along all from ``axis`` on."""
    source = call.input(0)
    since_13 = call.opset >= 13
    axis = axis_of(call.attribute("axis", -1 if since_13 else 1), source.rank)
    rows = source.rows
    if rows is not None and (rows.axis == axis if since_13 else rows.axis >= axis):
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def running(call: Call) -> list[Tensor]:
    """CumSum and CumProd: along one dimension."""
    source = call.input(0)
    axis = axis_of(call.numbers(1)[0], source.rank)
    if source.rows is not None and source.rows.axis == axis:
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def top_k(call: Call) -> list[Tensor]:
    """The largest values along one dimension, and their places."""
    source = call.input(0)
    axis = axis_of(call.attribute("axis", -1), source.rank)
    if source.rows is not None and source.rows.axis == axis:
        raise MixesError(_OVER_THE_BATCH)
    count: AnySize = call.attribute("k", unknown(least=0))
    if call.has(1):
        call.check_shared(1)
        value = call.input(1).value
        count = value.flat[0] if value is not None else unknown(least=0)
    sizes = [count if place == axis else size for place, size in enumerate(source.dimensions)]
    result = shared(sizes) if source.rows is None else by_rows(sizes, source.rows)
    return [result, result]


def layer_norm(call: Call) -> list[Tensor]:
    """Normalized along the dimensions from ``axis`` on; also what mean and scale were."""
    return _normalized(call, call.input(0), call.given(1))


def _normalized(call: Call, source: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    axis = axis_of(call.attribute("axis", -1), source.rank)
    if source.rows is not None and source.rows.axis >= axis:
        raise MixesError(_OVER_THE_BATCH)
    for parameter in parameters:
        if not parameter.is_shared:
            raise MixesError("takes its parameters from the batch")
    result = broadcast([source, *parameters])
    scale = _without(source, set(range(axis, source.rank)), keep=True)
    return [result, scale, scale]


def skip_norm(call: Call) -> list[Tensor]:
    """SkipLayerNormalization and its simplified form: two inputs (N, T, C), parameters, and a bias; the last result is
    their sum."""
    simplified = call.node.operator.startswith("SkipSimplified")
    call.check_shared(*range(2, len(call.inputs)))
    bias = 3 if simplified else 4
    total = broadcast([call.input(0), call.input(1), *([call.input(bias)] if call.has(bias) else [])])
    if total.rows is not None and total.rows.axis == total.rank - 1:
        raise MixesError(_OVER_THE_BATCH)
    if call.input(0).rank != total.rank or (call.input(1).rows is None and call.input(0).rows is None):
        raise MixesError("adds what is not of one shape")
    scale = _without(total, {total.rank - 1}, keep=True)
    return [total, scale, scale, total]


def batch_norm(call: Call) -> list[Tensor]:
    """By statistics that were learned, a number for each channel; in training by those of the batch."""
    source = call.input(0)
    if call.attribute("training_mode", 0) or (call.opset < 7 and not call.attribute("is_test", 0)):
        raise MixesError("is in training mode, which takes its statistics from the batch")
    call.check_shared(1, 2, 3, 4)
    if source.rows is not None and source.rows.axis == 1:
        raise MixesError("has a channel for each row of the batch")
    return [broadcast([source])]


def by_channels(call: Call) -> list[Tensor]:
    """InstanceNormalization, GroupNormalization, LRN and the like: within each entry of the first dimension."""
    source = call.input(0)
    call.check_shared(*range(1, len(call.inputs)))
    if source.rows is not None and source.rows.axis != 0:
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def lp_norm(call: Call) -> list[Tensor]:
    """LpNormalization: along one dimension."""
    source = call.input(0)
    if source.rows is not None and source.rows.axis == axis_of(call.attribute("axis", -1), source.rank):
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def mean_variance_norm(call: Call) -> list[Tensor]:
    """MeanVarianceNormalization: along ``axes``, of which the batch's is one unless they say otherwise."""
    source = call.input(0)
    axes = {axis_of(axis, source.rank) for axis in call.attribute("axes") or (0, 2, 3)}
    if source.rows is not None and source.rows.axis in axes:
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def resize(call: Call) -> list[Tensor]:
    """Images of another size: scales or sizes of every dimension, or of ``axes``; the batch's stays."""
    source = call.input(0)
    call.check_shared(1)
    old = call.node.operator == "Upsample" or call.opset < 11
    scale_index, size_index = (1, None) if old else (2, 3)
    axes = call.attribute("axes") or list(range(source.rank))
    axes = [axis_of(axis, source.rank) for axis in axes]
    sizes = list(source.dimensions)
    listed = call.attribute("scales")
    if size_index is not None and call.has(size_index):
        if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise MixesError("changes sizes by each other")
        for axis, size in zip(axes, _wanted(call, size_index), strict=True):
            if depends_on_batch(size) or depends_on_batch(sizes[axis]):
                _check_kept(equal(size, sizes[axis]) is True)
            sizes[axis] = size if isinstance(size, Size) else int(size)
    else:
        scales = listed if listed is not None else _wanted(call, scale_index)
        for axis, scale in zip(axes, scales, strict=True):
            if equal(scale, 1) is True:
                continue
            _check_kept(source.rows is None or source.rows.axis != axis)
            size, factor = sizes[axis], None if isinstance(scale, Size) else float(scale)
            whole = isinstance(size, int) and factor is not None and factor.is_integer()
            sizes[axis] = size * int(factor) if whole and factor is not None else unknown(least=0)
    if source.rows is not None and call.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise MixesError("cuts a region out of every dimension")
    return [shared(sizes) if source.rows is None else by_rows(sizes, source.rows)]


def _check_kept(kept: bool) -> None:
    if not kept:
        raise MixesError("changes the number of rows")


def _wanted(call: Call, index: int) -> list[Any]:
    value = call.input(index).value
    if value is None:
        raise MixesError("takes its sizes from a computation that cannot be followed")
    return list(value.flat)


def grid_sample(call: Call) -> list[Tensor]:
    """Images (N, C, …) looked at in the places of (N, …, 2)."""
    images, places = call.input(0), call.input(1)
    if images.rows is None and places.rows is None:
        return [shared((*images.dimensions[:2], *places.dimensions[1:-1]))]
    if images.rows is None or images.rows.axis != 0 or places.rows != images.rows:
        raise MixesError("pairs the rows of the batch with values of the model's own")
    return [by_rows((0, images.dimensions[1], *places.dimensions[1:-1]), images.rows)]


def quantized_softmax(call: Call) -> list[Tensor]:
    """QLinearSoftmax: X, its scale and zero point, and the result's."""
    source = call.input(0)
    call.check_shared(1, 2, 3, 4)
    for index in (1, 2, 3, 4):
        check_single(call, index)
    since_13 = call.attribute("opset", 13) >= 13
    axis = axis_of(call.attribute("axis", -1), source.rank)
    rows = source.rows
    if rows is not None and (rows.axis == axis if since_13 else rows.axis >= axis):
        raise MixesError(_OVER_THE_BATCH)
    return [broadcast([source])]


def quantized_mean(call: Call) -> list[Tensor]:
    """QLinearReduceMean: X, its scale and zero point, and the result's."""
    call.check_shared(1, 2, 3, 4)
    source = call.input(0)
    gone = {axis_of(axis, source.rank) for axis in call.attribute("axes") or range(source.rank)}
    return [_without(source, gone, keep=bool(call.attribute("keepdims", 1)))]


RULES: Mapping[tuple[str, str], Rule] = {
    **{("", name): reduce for name in _REDUCTIONS},
    ("", "ArgMax"): largest_place,
    ("", "ArgMin"): largest_place,
    ("", "BatchNormalization"): batch_norm,
    ("", "CumSum"): running,
    ("", "CumProd"): running,
    ("", "GridSample"): grid_sample,
    ("com.microsoft", "GridSample"): grid_sample,
    ("", "GroupNormalization"): by_channels,
    ("", "Hardmax"): softmax,
    ("", "InstanceNormalization"): by_channels,
    ("", "LRN"): by_channels,
    ("", "LayerNormalization"): layer_norm,
    ("", "LogSoftmax"): softmax,
    ("", "LpNormalization"): lp_norm,
    ("", "MeanVarianceNormalization"): mean_variance_norm,
    ("", "RMSNormalization"): layer_norm,
    ("", "Resize"): resize,
    ("", "SimplifiedLayerNormalization"): layer_norm,
    ("", "Softmax"): softmax,
    ("", "TopK"): top_k,
    ("", "Upsample"): resize,
    ("com.microsoft", "QLinearReduceMean"): quantized_mean,
    ("com.microsoft", "QLinearSoftmax"): quantized_softmax,
    ("com.microsoft", "SimplifiedLayerNormalization"): layer_norm,
    ("com.microsoft", "SkipLayerNormalization"): skip_norm,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): skip_norm,
}
