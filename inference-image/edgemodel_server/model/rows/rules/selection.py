"""Operators that take parts of tensors, put them together, or fill them up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgemodel_server.model.rows.rules.shapes import Rule, rearranged
from edgemodel_server.model.rows.sizes import AnySize, N, Size, depends_on_batch, equal, numbers, unknown
from edgemodel_server.model.rows.tensors import (
    Call,
    MixesError,
    Numbers,
    Rows,
    Tensor,
    axis_of,
    broadcast,
    by_rows,
    shared,
    valued,
)
from edgemodel_server.protocol.datatypes import Array

_FEW = 16
"""Elements that are not known and may be sizes."""
_FAR = 10**9
"""Nothing has as many elements: an end like this is the end, whatever there is."""


def concat(call: Call) -> list[Tensor]:
    """Joined along a dimension; two of the batch one after the other are a batch of pairs."""
    parts = call.given()
    axis = call.attribute("axis", 0)
    values = [_elements(part) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) == len(parts) and any(part.value is not None for part in parts):
        return [valued(np.concatenate(known, axis))]
    return [_joined(parts, axis)]


def _elements(part: Tensor) -> Array | None:
    """The elements of a part; unknown ones where it is small and shared; None where it is neither."""
    if part.value is not None or not part.is_shared or part.shape is None or len(part.shape) != 1:
        return part.value
    (size,) = part.shape
    if not isinstance(size, int) or not 0 <= size <= _FEW:
        return None
    array = np.empty(size, dtype=object)
    array[:] = [unknown() for _ in range(size)]
    return array


def _joined(parts: Sequence[Tensor], axis: int) -> Tensor:
    if any(part.is_sizes for part in parts):
        raise MixesError("computes with the number of rows")
    axis = axis_of(axis, parts[0].rank)
    sizes = list(parts[0].dimensions)
    for part in parts[1:]:
        sizes[axis] = sizes[axis] + part.dimensions[axis]
    places = {part.rows for part in parts}
    if places == {None}:
        return shared(sizes)
    if None in places:
        raise MixesError("puts values of the model's own beside the rows of the batch, where they are as many as it")
    found = [place for place in places if place is not None]
    if all(place.axis != axis for place in found):
        if len(found) > 1:
            raise MixesError("brings the batch together with another dimension")
        first = parts[0]
        numbers: Numbers | None = None
        if all(part.numbers == "all" for part in parts):
            numbers = "all"
        elif first.numbers == "all" and axis == first.rank - 1 and equal(first.dimensions[-1], 1) is True:
            numbers = "first"
        return by_rows(sizes, found[0], numbers)
    if any(place.axis != axis or place.inner != found[0].inner for place in found):
        raise MixesError("brings the batch together with another dimension")
    outer: AnySize = 0
    for part in parts:
        if part.rows is not None:
            outer = outer + part.rows.outer
    return by_rows(sizes, Rows(axis, outer, found[0].inner))


def split(call: Call) -> list[Tensor]:
    """Cut along a dimension other than the batch's, or between the two batches that were joined."""
    source = call.input(0)
    axis = axis_of(call.attribute("axis", 0), source.rank)
    count = len(call.node.outputs)
    total = source.dimensions[axis]
    lengths: list[AnySize]
    listed = call.attribute("split")
    if listed is not None:
        lengths = [int(size) for size in listed]
    elif call.has(1):
        value = call.input(1).value
        if value is None:
            call.check_shared(1)
            lengths = [unknown(least=0) for _ in range(count)]
        else:
            lengths = [size if isinstance(size, Size) else int(size) for size in value.flat]
    else:
        each = -(-total // count) if isinstance(total, int) else unknown(least=0)
        last = total - each * (count - 1) if isinstance(total, int) and isinstance(each, int) else each
        lengths = [*([each] * (count - 1)), last]
        if source.rows is not None and axis == source.rows.axis and equal(source.rows.outer, count):
            lengths = [N * source.rows.inner] * count
    known = numbers(lengths)
    if source.value is not None and known is not None:
        return [valued(part) for part in np.split(source.value, np.cumsum(known)[:-1], axis)]
    return [_part(source, axis, length) for length in lengths]


def _part(source: Tensor, axis: int, length: AnySize) -> Tensor:
    """A part of ``source`` along ``axis``, of that length."""
    sizes = list(source.dimensions)
    sizes[axis] = length
    if source.rows is None:
        if source.is_sizes:
            raise MixesError("computes with the number of rows")
        return shared(sizes)
    if source.rows.axis != axis:
        return by_rows(sizes, source.rows, source.all_numbers)
    if equal(length, N * source.rows.inner) is True and isinstance(source.rows.outer, int):
        return by_rows(sizes, Rows(axis, 1, source.rows.inner))
    raise MixesError("takes a part of the rows of the batch")


def cut(call: Call) -> list[Tensor]:
    """Slice: from start to end along some dimensions."""
    source = call.input(0)
    starts, ends = (_limits(call, name, index) for name, index in (("starts", 1), ("ends", 2)))
    axes = call.numbers_of("axes", 3)
    steps = call.numbers(4) if call.has(4) else None
    if axes is None:
        known = starts if starts is not None else ends
        if known is None:
            raise MixesError("cuts along dimensions that are not known")
        axes = list(range(len(known)))
    count = len(axes)
    axes = [axis_of(axis, source.rank) for axis in axes]
    starts, ends = starts or [None] * count, ends or [None] * count
    steps = steps or [1] * count
    if source.value is not None and all(isinstance(item, int) for item in (*starts, *ends)):
        index: list[slice] = [slice(None)] * source.rank
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            # A step backwards ends before the first element, which numpy calls None.
            size = source.value.shape[axis]
            past = step < 0 and isinstance(end, int) and end < -size
            index[axis] = slice(start, None if past else end, step)
        return [valued(source.value[tuple(index)])]
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    sizes = list(source.dimensions)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if equal(start, 0) is True and step == 1 and end is not None and _reaches(end, sizes[axis]):
            continue
        if source.rows is not None and axis == source.rows.axis:
            raise MixesError("takes a part of the rows of the batch")
        sizes[axis] = _length(sizes[axis], start, end, step)
    return [shared(sizes) if source.rows is None else by_rows(sizes, source.rows, source.all_numbers)]


def _limits(call: Call, attribute: str, index: int) -> list[AnySize | None] | None:
    """Where to cut; None where that is the same for every request and not known."""
    listed = call.attribute(attribute)
    if listed is not None:
        return [int(item) for item in listed]
    value = call.input(index).value
    if value is None:
        call.check_shared(index)
        return None
    return [item if isinstance(item, Size) else int(item) for item in value.flat]


def _reaches(end: AnySize, size: AnySize) -> bool:
    """Whether ``end`` is no less than ``size``."""
    return (isinstance(end, int) and end >= _FAR) or equal(end, size) is True


def _length(size: AnySize, start: AnySize | None, end: AnySize | None, step: int) -> AnySize:
    if any(depends_on_batch(item) for item in (start, end)):
        raise MixesError("cuts by the number of rows")
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        return len(range(size)[slice(start, None if step < 0 and end < -size else end, step)])
    return unknown(least=0)


def gather(call: Call) -> list[Tensor]:
    """Entries of a table by their numbers: one of the two may be the batch's."""
    data, indices = call.input(0), call.input(1)
    if data.value is not None and indices.value is not None and not indices.is_sizes:
        found = indices.value
        if not any(isinstance(item, Size) for item in found.flat):
            axis = axis_of(call.attribute("axis", 0), data.rank)
            return [valued(np.take(data.value, found.astype(np.int64), axis=axis))]
    if data.is_sizes or indices.is_sizes:
        raise MixesError("computes with the number of rows")
    axis = axis_of(call.attribute("axis", 0), data.rank)
    sizes = [*data.dimensions[:axis], *indices.dimensions, *data.dimensions[axis + 1 :]]
    if data.rows is None and indices.rows is None:
        return [shared(sizes)]
    if data.rows is not None and indices.rows is not None:
        if indices.numbers != "all" or data.rows != Rows(axis):
            raise MixesError("looks up entries of every row by the numbers of every other")
        return [_own_rows(data, sizes, indices.rows.at(axis + indices.rows.axis))]
    if indices.rows is not None:
        return [by_rows(sizes, indices.rows.at(axis + indices.rows.axis))]
    rows = data.rows
    if rows is None or rows.axis == axis:
        raise MixesError("picks rows of the batch by number")
    return [by_rows(sizes, rows if rows.axis < axis else rows.at(rows.axis + indices.rank - 1))]


def _own_rows(data: Tensor, sizes: Sequence[AnySize], rows: Rows) -> Tensor:
    """Entries of ``data`` that each row picks out of itself, by its number."""
    return replace(by_rows(sizes, rows), own=data.numbers is None)


def gather_elements(call: Call) -> list[Tensor]:
    """An entry for each place, along a dimension."""
    data, indices = call.input(0), call.input(1)
    if data.rows is None and indices.rows is None:
        return [_alike(indices)]
    if data.rows is None or indices.rows != data.rows:
        raise MixesError("picks by place what is the batch's and what is not")
    if axis_of(call.attribute("axis", 0), data.rank) == data.rows.axis:
        raise MixesError("picks rows of the batch by number")
    return [by_rows(indices.dimensions, data.rows)]


def _alike(source: Tensor) -> Tensor:
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    return shared(source.dimensions)


def gather_nd(call: Call) -> list[Tensor]:
    """Entries by several numbers each: of each row by its own, or of all rows alike."""
    data, indices = call.input(0), call.input(1)
    together = call.attribute("batch_dims", 0)
    depth = indices.dimensions[-1]
    if not isinstance(depth, int) or data.is_sizes or indices.is_sizes:
        raise MixesError("picks entries by as many numbers as are not known")
    sizes = [*indices.dimensions[:-1], *data.dimensions[together + depth :]]
    if data.rows is None and indices.rows is None:
        return [shared(sizes)]
    if data.rows is None and indices.rows is not None:
        if not together <= indices.rows.axis < indices.rank - 1:
            raise MixesError("picks by place what is the batch's and what is not")
        return [by_rows(sizes, indices.rows)]
    rows = data.rows
    if rows is None:
        raise MixesError("picks by place what is the batch's and what is not")
    if indices.rows is not None:
        if together == 0 and rows == Rows(0) and indices.numbers == "first":
            return [_own_rows(data, sizes, indices.rows)]
        if rows.axis >= together or indices.rows != rows:
            raise MixesError("looks up entries of every row by the numbers of every other")
        return [by_rows(sizes, rows)]
    if rows.axis < together + depth:
        raise MixesError("picks rows of the batch by number")
    return [by_rows(sizes, rows.at(indices.rank - 1 + rows.axis - together - depth))]


def pad(call: Call) -> list[Tensor]:
    """Filled up at both ends of dimensions other than the batch's."""
    source = call.input(0)
    call.check_shared(2, 3)
    pads = call.attribute("pads") or call.attribute("paddings")
    axes = call.numbers(3) if call.has(3) else list(range(source.rank))
    if pads is None:
        value = call.input(1).value
        if value is None or call.input(1).is_sizes:
            raise MixesError("fills up by as much as cannot be followed")
        pads = list(value.flat)
    sizes = list(source.dimensions)
    for place, axis in enumerate(axis_of(axis, source.rank) for axis in axes):
        before, after = pads[place], pads[place + len(axes)]
        if source.rows is not None and axis == source.rows.axis and (before != 0 or after != 0):
            raise MixesError("adds rows to the batch")
        sizes[axis] = sizes[axis] + before + after
    if source.rows is not None:
        return [by_rows(sizes, source.rows)]
    return [shared(sizes)] if not source.is_sizes else [_alike(source)]


def triangle(call: Call) -> list[Tensor]:
    """Trilu: what is above or below the diagonal of the last two dimensions."""
    source = call.input(0)
    call.check_shared(1)
    if source.rows is None:
        return [_alike(source)]
    if source.rows.axis >= source.rank - 2:
        raise MixesError("cuts the batch along a diagonal")
    return [by_rows(source.dimensions, source.rows)]


def one_hot(call: Call) -> list[Tensor]:
    """A new dimension with a one where the number says."""
    indices = call.input(0)
    call.check_shared(1, 2)
    rank = indices.rank + 1
    place = axis_of(call.attribute("axis", -1), rank)
    depth = call.input(1).value
    size = int(depth.flat[0]) if depth is not None and not isinstance(depth.flat[0], Size) else unknown(least=0)
    opened = rearranged(Tensor(indices.shape, indices.rows), [*range(place), None, *range(place, rank - 1)])
    sizes = [size if axis == place else other for axis, other in enumerate(opened.dimensions)]
    return [shared(sizes) if opened.rows is None else by_rows(sizes, opened.rows)]


def reverse_sequence(call: Call) -> list[Tensor]:
    """Each row's own beginning in reverse."""
    source, lengths = call.input(0), call.input(1)
    batch, time = call.attribute("batch_axis", 1), call.attribute("time_axis", 0)
    if source.rows is None or source.rows.axis != batch or batch == time:
        raise MixesError("turns round something other than the sequence of each row")
    if lengths.rows is not None and lengths.rows != source.rows.at(0):
        raise MixesError("brings the batch together with another dimension")
    if lengths.rows is None:
        raise MixesError("has lengths that are the model's own")
    return [by_rows(source.dimensions, source.rows)]


def scatter_elements(call: Call) -> list[Tensor]:
    """Entries written at their places, along a dimension."""
    data, indices, updates = (call.input(index) for index in range(3))
    if data.rows is None and indices.rows is None and updates.rows is None:
        return [_alike(data)]
    if data.rows is None or indices.rows != data.rows or updates.rows != data.rows:
        raise MixesError("writes by place what is the batch's and what is not")
    if axis_of(call.attribute("axis", 0), data.rank) == data.rows.axis:
        raise MixesError("writes into rows of the batch by number")
    return [by_rows(data.dimensions, data.rows)]


def concat_like(call: Call) -> list[Tensor]:
    """QLinearConcat: result's scale and zero point, then for each part its tensor, scale and zero point."""
    parts = [call.input(index) for index in range(2, len(call.inputs), 3)]
    call.check_shared(0, 1, *(index for index in range(len(call.inputs)) if index >= 2 and index % 3 != 2))
    return [_joined(parts, call.attribute("axis", 0))]


def where_quantized(call: Call) -> list[Tensor]:
    """QLinearWhere: condition, then each choice with scale and zero point."""
    call.check_shared(2, 3, 5, 6, 7, 8)
    return [broadcast([call.input(index) for index in (0, 1, 4)])]


RULES: Mapping[tuple[str, str], Rule] = {
    ("", "Concat"): concat,
    ("", "Gather"): gather,
    ("", "GatherElements"): gather_elements,
    ("", "GatherND"): gather_nd,
    ("", "OneHot"): one_hot,
    ("", "Pad"): pad,
    ("", "ReverseSequence"): reverse_sequence,
    ("", "ScatterElements"): scatter_elements,
    ("", "Slice"): cut,
    ("", "Split"): split,
    ("", "Trilu"): triangle,
    ("com.microsoft", "QLinearConcat"): concat_like,
    ("com.microsoft", "QLinearWhere"): where_quantized,
    ("com.microsoft", "GatherND"): gather_nd,
}
