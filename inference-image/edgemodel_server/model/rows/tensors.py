"""What is known of a tensor before the model runs: its sizes, and which parts belong to which row of the batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgemodel_server.model.rows.graph import Node
from edgemodel_server.model.rows.sizes import (
    AnySize,
    N,
    Size,
    depends_on_batch,
    divide,
    equal,
    numbers,
    product,
    unknown,
)
from edgemodel_server.protocol.datatypes import Array

LARGEST_VALUE = 1024
"""Elements of a tensor of sizes that is followed element by element."""

Shape = tuple[AnySize, ...]
Numbers = Literal["all", "first", "some"]


class MixesError(Exception):
    """It is not certain that rows stay apart; the message says why, as the end of «operator … »."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the batch is: dimension ``axis`` has ``outer`` × n × ``inner`` elements, in this order, and those of one
    row follow from this row of the inputs alone, in the same way for every row and every n."""

    axis: int
    outer: AnySize = 1
    inner: AnySize = 1

    @property
    def size(self) -> AnySize:
        """The size of the dimension."""
        return self.outer * N * self.inner

    def at(self, axis: int) -> "Rows":
        """The same in another dimension."""
        return Rows(axis, self.outer, self.inner)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One of five kinds.

    * shared: the same for every request that may join a batch, whatever its rows and their number. ``value`` holds its
      elements where they are few and known. ``shape`` None: unknown.
    * sizes: as that, but ``value`` has elements that depend on the number of rows.
    * by rows: ``rows`` says where the batch is.
    * numbered rows: as that, but elements depend on the number of their row, too, which in a batch is another than when
      the row is alone. ``numbers``: how. «all»: each element is that number; «first»: the first of each group along the
      last dimension is; «some»: anything else. ``own``: such numbers went into it, but only to pick each row's own
      elements.
    * mixed: anything else; ``mixed`` says why.
    """

    shape: Shape | None = None
    rows: Rows | None = None
    value: Array | None = None
    is_sizes: bool = False
    numbers: Numbers | None = None
    own: bool = False
    mixed: str | None = None

    @property
    def is_shared(self) -> bool:
        """Whether it is the same for every request."""
        return self.mixed is None and self.rows is None and not self.is_sizes

    @property
    def all_numbers(self) -> Numbers | None:
        """``numbers`` of the same elements in another place."""
        return "all" if self.numbers == "all" else None

    @property
    def dimensions(self) -> Shape:
        """The shape. Raises MixesError where it is unknown."""
        if self.shape is None:
            raise MixesError("has an input of unknown shape")
        return self.shape

    @property
    def rank(self) -> int:
        """The number of dimensions. Raises MixesError where it is unknown."""
        return len(self.dimensions)


def shared(shape: Iterable[AnySize] | None = None) -> Tensor:
    """A tensor that is the same for every request, of unknown content."""
    dimensions = None if shape is None else tuple(shape)
    if dimensions is not None and any(map(depends_on_batch, dimensions)):
        raise MixesError("makes as many values as the batch has rows, none of which belongs to a row")
    return Tensor(dimensions)


def valued(value: Any) -> Tensor:
    """A tensor of these numbers and sizes."""
    array = np.array(value, dtype=object)
    if array.size > LARGEST_VALUE:
        return shared(array.shape)
    return Tensor(tuple(array.shape), value=array, is_sizes=any(map(depends_on_batch, array.flat)))


def by_rows(shape: Iterable[AnySize], rows: Rows, numbers: Numbers | None = None) -> Tensor:
    """A tensor whose dimension ``rows.axis`` is the batch; its size in ``shape`` is not looked at."""
    dimensions = list(shape)
    if not 0 <= rows.axis < len(dimensions):
        raise MixesError("has no dimension where the batch should be")
    dimensions[rows.axis] = rows.size
    others = [size for axis, size in enumerate(dimensions) if axis != rows.axis]
    if any(map(depends_on_batch, [*others, rows.outer, rows.inner])):
        raise MixesError("compares every row of the batch with every other")
    return Tensor(tuple(dimensions), rows, numbers=numbers)


def broadcast(tensors: Sequence[Tensor]) -> Tensor:
    """What elementwise operators make of tensors whose shapes are brought together as numpy does.

    Raises:
        MixesError: a row would meet something that is not the same for every row.
    """
    for tensor in tensors:
        if tensor.is_sizes:
            raise MixesError("computes with the number of rows")
    found = [tensor for tensor in tensors if tensor.rows]
    if not found and any(tensor.shape is None for tensor in tensors):
        return shared()
    rank = max(tensor.rank for tensor in tensors)
    places = {tensor.rows.at(tensor.rows.axis + rank - tensor.rank) for tensor in found if tensor.rows}
    if len(places) > 1:
        raise MixesError("brings the batch together with another dimension")
    shape = [_together([_size(tensor, axis, rank) for tensor in tensors]) for axis in range(rank)]
    if not places:
        return shared(shape)
    (place,) = places
    for tensor in tensors:
        size = _size(tensor, place.axis, rank)
        if tensor.rows is None and equal(size, 1) is not True:
            raise MixesError(f"pairs the rows of the batch with {_shown(size)} values of the model's own")
    return by_rows(shape, place)


def _size(tensor: Tensor, axis: int, rank: int) -> AnySize:
    """Of the tensor's dimension that comes to lie at ``axis`` of ``rank``; 1 where it has none."""
    own = axis - rank + tensor.rank
    return tensor.dimensions[own] if own >= 0 else 1


def _together(sizes: Sequence[AnySize]) -> AnySize:
    others = [size for size in dict.fromkeys(sizes) if size != 1]
    if len(others) <= 1:
        return others[0] if others else 1
    numbers = [size for size in others if isinstance(size, int)]
    if numbers:
        return numbers[0]
    batch = [size for size in others if depends_on_batch(size)]
    return batch[0] if batch else unknown(least=0)


def _shown(size: AnySize) -> str:
    return str(size) if isinstance(size, int) else "an unknown number of"


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with what is known of its inputs; None for an input that is left out. ``opset``: its domain's."""

    node: Node
    inputs: Sequence[Tensor | None]
    opset: int

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Tensor:
        """Input ``index``. Raises MixesError where it is left out."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise MixesError(f"lacks input {index}")
        return tensor

    def given(self, start: int = 0) -> list[Tensor]:
        """The inputs from ``start`` on that are not left out."""
        return [tensor for tensor in self.inputs[start:] if tensor is not None]

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute of that name."""
        value = self.node.attributes.get(name)
        return default if value is None else value

    def check_shared(self, *indices: int) -> None:
        """Raise MixesError unless these inputs, as far as they are given, are the same for every request."""
        for index in indices:
            if self.has(index) and not self.input(index).is_shared:
                raise MixesError(f"takes input {index} from the batch")

    def values(self, index: int) -> list[Any]:
        """The elements of input ``index``. Raises MixesError where they are unknown."""
        value = self.input(index).value
        if value is None:
            raise MixesError(f"takes input {index} from a computation that cannot be followed")
        return list(value.flat)

    def numbers(self, index: int) -> list[int]:
        """The elements of input ``index``, whole numbers. Raises MixesError where they are unknown."""
        values = self.values(index)
        if any(isinstance(value, Size) for value in values):
            raise MixesError(f"takes input {index} from a computation that cannot be followed")
        return [int(value) for value in values]

    def numbers_of(self, attribute: str, index: int) -> list[int] | None:
        """Whole numbers that are an attribute in old models and input ``index`` in new ones; None: neither."""
        listed = self.node.attributes.get(attribute)
        if listed is not None:
            return [int(item) for item in listed]
        return self.numbers(index) if self.has(index) else None


def axis_of(axis: int, rank: int) -> int:
    """``axis``, which may count from the end. Raises MixesError where there is no such dimension."""
    if not -rank <= axis < rank:
        raise MixesError(f"names dimension {axis} of {rank}")
    return axis % rank


def regrouped(tensor: Tensor, target: Sequence[AnySize]) -> Tensor:
    """The same elements in the same order in another shape; one size of ``target`` may be -1: what is left.

    Raises:
        MixesError: a row's elements might not stay together.
    """
    if tensor.value is not None and (known := numbers(target)) is not None:
        try:
            return valued(tensor.value.reshape(known))
        except ValueError as error:
            raise MixesError("has a shape that does not fit") from error
    sizes = list(target)
    others = [size for size in sizes if size != -1]
    if tensor.rows is None:
        return shared(_filled(sizes, None if tensor.shape is None else product(tensor.shape), others))
    dimensions, rows = tensor.dimensions, tensor.rows
    before = product(dimensions[: rows.axis]) * rows.outer
    sizes = _filled(sizes, product(dimensions), others)
    axes = [axis for axis, size in enumerate(sizes) if depends_on_batch(size)]
    if len(axes) != 1:
        raise MixesError("gives its result a shape in which the batch cannot be found")
    axis = axes[0]
    each = divide_or_mix(sizes[axis], N)
    outer = divide_or_mix(before, product(sizes[:axis]))
    # Sizes multiply to the same in the end, which the runtime checks: what follows a row's start fits, too.
    inner = divide_or_mix(each, outer)
    return by_rows(sizes, Rows(axis, outer, inner), tensor.all_numbers)


def divide_or_mix(size: AnySize, divisor: AnySize) -> AnySize:
    """The exact quotient. Raises MixesError where there may be none."""
    quotient = divide(size, divisor)
    if quotient is None:
        raise MixesError("divides the batch into parts that may not be whole rows")
    return quotient


def _filled(sizes: list[AnySize], total: AnySize | None, others: Sequence[AnySize]) -> list[AnySize]:
    """``sizes`` with what is left of ``total`` for -1."""
    if -1 not in sizes:
        return sizes
    left = None if total is None else divide(total, product(others))
    if left is None:
        if total is not None and depends_on_batch(total) != any(map(depends_on_batch, others)):
            raise MixesError("divides the batch into parts that may not be whole rows")
        left = unknown(least=0)
    return [left if size == -1 else size for size in sizes]
