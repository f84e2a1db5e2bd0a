"""Triton's classification extension: an output as its largest values, each with its index and label, in one string."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError, shown
from edgemodel_server.protocol.datatypes import Array

MAX_CLASSES = 2**31 - 1
_ELEMENT_BYTES = 40
_STRING_BYTES = 256


def decode_count(value: Any, spec: TensorSpec, field: str) -> int:
    """How many classes a request wants of the output ``spec``; ``field`` is where that was found, for messages.

    Raises:
        BadRequestError: no number from 1, or the output has no numbers.
    """
    if type(value) is not int or not 1 <= value <= MAX_CLASSES:
        raise BadRequestError(f"{field} is {shown(value)}; give a whole number from 1 to {MAX_CLASSES}")
    if spec.datatype == "BYTES":
        raise BadRequestError(f"{field} is not for output {spec.name!r}: it is BYTES, which have no largest value")
    return value


def classify(array: Array, count: int, labels: Sequence[str]) -> Array:
    """``value:index`` or ``value:index:label`` of the ``count`` largest values of each row, largest first.

    ``array`` holds numbers. Its first dimension are the rows, (rows, …) → object array of ``str`` (rows, ``count``);
    one with less than two dimensions is a row itself, and (``count``) comes back. The index is that in the row,
    flattened. Of equal values the first counts as larger, NaN as smallest. A row that has fewer values gives all.
    """
    rows = array.reshape(len(array), _row_size(array)) if array.ndim > 1 else array.reshape(1, -1)
    size = rows.shape[1]
    count = min(count, size)
    keys = np.where(np.isnan(rows), -np.inf, rows) if rows.dtype.kind == "f" else rows
    # Ascending in the reversed row, then read from its end: so that the first of equals comes first.
    order = size - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    form = "%f:%d" if rows.dtype.kind == "f" else "%d:%d"
    strings: Array = np.empty((len(rows), count), dtype=object)
    values = np.take_along_axis(rows, order, axis=1).tolist()
    for row, indices in enumerate(order.tolist()):
        for place, index in enumerate(indices):
            text = form % (values[row][place], index)
            strings[row, place] = f"{text}:{labels[index]}" if index < len(labels) else text
    return strings if array.ndim > 1 else strings[0]


def classes_bytes(array: Array, count: int) -> int:
    """At most so many bytes are taken by ``classify``: keys and order of all elements, and a string for each class."""
    rows = len(array) if array.ndim > 1 else 1
    return _ELEMENT_BYTES * array.size + _STRING_BYTES * rows * min(count, array.size // max(1, rows))


def _row_size(array: Array) -> int:
    """Elements of a row; of arrays without any row too."""
    return int(np.prod(array.shape[1:], dtype=np.int64))
