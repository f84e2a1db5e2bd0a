"""Operators that ask for shapes, make tensors of a shape, or give elements another one."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgemodel_server.model.rows.graph import Constant
from edgemodel_server.model.rows.sizes import AnySize, N, Size, depends_on_batch, equal, numbers, product, unknown
from edgemodel_server.model.rows.tensors import (
    LARGEST_VALUE,
    Call,
    MixesError,
    Rows,
    Tensor,
    axis_of,
    by_rows,
    divide_or_mix,
    regrouped,
    shared,
    valued,
)


def constant(call: Call) -> list[Tensor]:
    """A tensor in the graph."""
    for name in ("value", "sparse_value"):
        found = call.attribute(name)
        if isinstance(found, Constant):
            return [tensor_of(found)]
    for name in ("value_int", "value_ints", "value_float", "value_floats"):
        found = call.attribute(name)
        if found is not None:
            return [valued(found)]
    for name in ("value_string", "value_strings"):
        found = call.attribute(name)
        if found is not None:
            return [shared(() if isinstance(found, str) else (len(found),))]
    return [shared()]


def tensor_of(found: Constant) -> Tensor:
    """What is known of a constant."""
    return shared(found.shape) if found.value is None else valued(np.array(found.value.tolist(), dtype=object))


def shape_of(call: Call) -> list[Tensor]:
    """The sizes of a tensor, from ``start`` to ``end``."""
    source = call.input(0)
    if source.shape is None:
        return [shared((unknown(least=0),))]
    part = slice(call.attribute("start", 0), call.attribute("end"))
    sizes = source.dimensions[part]
    array = np.empty(len(sizes), dtype=object)
    array[:] = sizes
    return [valued(array)]


def size_of(call: Call) -> list[Tensor]:
    """The number of a tensor's elements."""
    return [valued(product(call.input(0).dimensions))]


def reshape(call: Call) -> list[Tensor]:
    """Another shape, from attribute or input."""
    source = call.input(0)
    sizes = _sizes(call, "shape", 1)
    if sizes is None:
        return [_of_unknown_shape(call, source)]
    if not call.attribute("allowzero", 0):
        sizes = [source.dimensions[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return [regrouped(source, sizes)]


def _of_unknown_shape(call: Call, source: Tensor) -> Tensor:
    call.check_shared(1)
    if not source.is_shared:
        raise MixesError("takes its shape from a computation that cannot be followed")
    return shared()


def _sizes(call: Call, attribute: str, index: int) -> list[AnySize] | None:
    """The sizes wanted; None where they are unknown."""
    listed = call.attribute(attribute)
    if listed is not None:
        return [int(size) for size in listed]
    value = call.input(index).value
    if value is None:
        return None
    return [size if isinstance(size, Size) else int(size) for size in value.flat]


def flatten(call: Call) -> list[Tensor]:
    """Two dimensions: those before ``axis``, and the others."""
    source = call.input(0)
    axis = call.attribute("axis", 1)
    axis = axis + source.rank if axis < 0 else axis
    sizes = source.dimensions
    return [regrouped(source, [product(sizes[:axis]), product(sizes[axis:])])]


def squeeze(call: Call) -> list[Tensor]:
    """Without dimensions of one element."""
    source = call.input(0)
    axes = call.numbers_of("axes", 1)
    if axes is None:
        if source.rows is not None or not all(isinstance(size, int) for size in source.dimensions):
            raise MixesError("drops the dimensions of one element, whichever they are")
        axes = [axis for axis, size in enumerate(source.dimensions) if size == 1]
    dropped = {axis_of(axis, source.rank) for axis in axes}
    kept = [axis for axis in range(source.rank) if axis not in dropped]
    return [rearranged(source, kept)]


def unsqueeze(call: Call) -> list[Tensor]:
    """With new dimensions of one element."""
    source = call.input(0)
    axes = call.numbers_of("axes", 1)
    if axes is None:
        raise MixesError("has no axes")
    rank = source.rank + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    old = iter(range(source.rank))
    return [rearranged(source, [None if axis in new else next(old) for axis in range(rank)])]


def transpose(call: Call) -> list[Tensor]:
    """Dimensions in another order."""
    source = call.input(0)
    order = call.attribute("perm") or list(range(source.rank))[::-1]
    if sorted(order) != list(range(source.rank)):
        raise MixesError("has an order of other dimensions")
    return [rearranged(source, order)]


def rearranged(source: Tensor, order: Sequence[int | None]) -> Tensor:
    """The dimensions of ``source`` in this order; None: a new one; those that are not named have one element."""
    sizes: list[AnySize] = [1 if axis is None else source.dimensions[axis] for axis in order]
    if source.value is not None:
        # What is left out comes last and has one element.
        kept = [axis for axis in order if axis is not None]
        left = [axis for axis in range(source.rank) if axis not in kept]
        return valued(source.value.transpose([*kept, *left]).reshape(numbers(sizes) or []))
    if source.rows is None:
        return shared(sizes)
    if source.rows.axis not in order:
        raise MixesError("drops the dimension of the batch")
    return by_rows(sizes, source.rows.at(list(order).index(source.rows.axis)), source.all_numbers)


def expand(call: Call) -> list[Tensor]:
    """Repeated along dimensions of one element."""
    source = call.input(0)
    wanted = _sizes(call, "shape", 1)
    if wanted is None:
        return [_of_unknown_shape(call, source)]
    rank = max(source.rank, len(wanted))
    own: list[AnySize] = [*([1] * (rank - source.rank)), *source.dimensions]
    new: list[AnySize] = [*([1] * (rank - len(wanted))), *wanted]
    sizes: list[AnySize] = []
    for size, target in zip(own, new, strict=True):
        if target == 1 or equal(size, target):
            sizes.append(size)
        elif equal(size, 1):
            sizes.append(target)
        elif depends_on_batch(size) or depends_on_batch(target):
            raise MixesError("repeats rows of the batch, or values as often as there are rows")
        else:
            sizes.append(size if isinstance(size, int) else unknown(least=0))
    if source.rows is not None:
        moved = source.rows.at(source.rows.axis + rank - source.rank)
        return [by_rows(sizes, moved, source.all_numbers)]
    known = numbers(sizes)
    if source.value is not None and known is not None and math.prod(known) <= LARGEST_VALUE:
        return [valued(np.broadcast_to(source.value, known))]
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    return [filled(sizes)]


def filled(sizes: Sequence[AnySize]) -> Tensor:
    """A tensor whose elements are the same along dimensions that depend on the batch."""
    axes = [axis for axis, size in enumerate(sizes) if depends_on_batch(size)]
    if not axes:
        return shared(sizes)
    if len(axes) > 1:
        raise MixesError("makes a table of every row of the batch with every other")
    return by_rows(sizes, Rows(axes[0], inner=divide_or_mix(sizes[axes[0]], N)))


def constant_of_shape(call: Call) -> list[Tensor]:
    """A tensor of one number."""
    sizes = _sizes(call, "shape", 0)
    if sizes is None:
        call.check_shared(0)
        return [shared()]
    content = call.attribute("value")
    number = 0.0
    if isinstance(content, Constant):
        if content.value is None or content.value.size != 1:
            return [filled(sizes)]
        number = content.value.reshape(-1)[0].item()
    known = numbers(sizes)
    if known is not None and 0 <= math.prod(known) <= LARGEST_VALUE:
        return [valued(np.full(known, number, dtype=object))]
    return [filled(sizes)]


def like(call: Call) -> list[Tensor]:
    """EyeLike is of two dimensions, each of which would be the batch's."""
    source = call.input(0)
    if not source.is_shared:
        raise MixesError("makes a table of every row of the batch with every other")
    return [shared(source.shape)]


def arange(call: Call) -> list[Tensor]:
    """Range: numbers one after the other; up to the number of rows, the number of each row."""
    ends = [call.input(index).value for index in range(3)]
    if any(value is None for value in ends):
        call.check_shared(0, 1, 2)
        return [shared((unknown(least=0),))]
    start, limit, step = (value.flat[0] for value in ends if value is not None)
    if not any(isinstance(item, Size) for item in (start, limit, step)):
        count = int(np.ceil((limit - start) / step)) if step else 0
        if max(count, 0) <= LARGEST_VALUE:
            return [valued([start + index * step for index in range(count)] if count > 0 else np.empty(0, object))]
        return [shared((max(count, 0),))]
    if equal(start, 0) and equal(step, 1):
        if equal(limit, N):
            return [by_rows([N], Rows(0), "all")]
        if isinstance(limit, Size) and not limit.depends_on_batch:
            return [shared((limit if limit.least is not None and limit.least >= 0 else unknown(least=0),))]
    if any(map(depends_on_batch, (start, limit, step))):
        raise MixesError("counts the rows of the batch")
    return [shared((unknown(least=0),))]


def tile(call: Call) -> list[Tensor]:
    """Repeated as a whole along each dimension."""
    source = call.input(0)
    repeats = _sizes(call, "repeats", 1)
    if repeats is None:
        return [_of_unknown_shape(call, source)]
    sizes = [size * times for size, times in zip(source.dimensions, repeats, strict=True)]
    if source.rows is not None:
        rows = source.rows
        copies = repeats[rows.axis]
        if depends_on_batch(copies):
            raise MixesError("makes a table of every row of the batch with every other")
        return [by_rows(sizes, Rows(rows.axis, copies * rows.outer, rows.inner), source.all_numbers)]
    if source.is_sizes:
        raise MixesError("computes with the number of rows")
    axes = [axis for axis, size in enumerate(sizes) if depends_on_batch(size)]
    if any(equal(source.dimensions[axis], 1) is not True for axis in axes):
        # Each copy has several elements: the rows' copies come one after the other, which is as it should be.
        if len(axes) == 1 and equal(repeats[axes[0]], N):
            return [by_rows(sizes, Rows(axes[0], inner=source.dimensions[axes[0]]))]
        raise MixesError("repeats values as often as there are rows")
    known, times = numbers(sizes), numbers(repeats)
    if source.value is not None and known is not None and times is not None and math.prod(known) <= LARGEST_VALUE:
        return [valued(np.tile(source.value, times))]
    return [filled(sizes)]


Rule = Callable[[Call], list[Tensor]]

RULES: Mapping[tuple[str, str], Rule] = {
    ("", "Constant"): constant,
    ("", "ConstantOfShape"): constant_of_shape,
    ("", "Expand"): expand,
    ("", "EyeLike"): like,
    ("", "Flatten"): flatten,
    ("", "Range"): arange,
    ("", "Reshape"): reshape,
    ("", "Shape"): shape_of,
    ("", "Size"): size_of,
    ("", "Squeeze"): squeeze,
    ("", "Tile"): tile,
    ("", "Transpose"): transpose,
    ("", "Unsqueeze"): unsqueeze,
}
