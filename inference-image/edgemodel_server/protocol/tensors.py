"""JSON values to numpy arrays, strictly: what does not fit exactly is refused, never rounded into place."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError, shown
from edgemodel_server.protocol.bfloat16 import numbers, to_bfloat16
from edgemodel_server.protocol.datatypes import FLOATS, NUMPY, Array
from edgemodel_server.protocol.long_lists import LongList
from edgemodel_server.protocol.memory import Memory
from edgemodel_server.protocol.shapes import decode_shape, elements, too_large

SHORT_ELEMENTS = 16 * 1024
"""Written at a time: in between, others get Python's lock, and what was written is charged."""
_JSON_NAMES = {
    bool: "true/false",
    int: "an integer",
    float: "a number with a fraction, an exponent or more than 64 bits",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def decode_tensor(spec: TensorSpec, datatype: Any, shape: Any, data: Any, field: str) -> Array:
    """The array that a request's JSON stands for: C-contiguous, of the dtype and a shape that ``spec`` allows.

    ``data`` holds the elements in row-major order, either flat or nested as ``shape``: a list, or a LongList. ``field``
    is where the tensor was found, for messages.

    Raises:
        BadRequestError: another datatype or shape than the model's, another number of elements than the shape says,
            elements of another JSON type, out of the datatype's range, or not finite.
        RequestError: there is no memory for a long list.
    """
    dimensions = decode_shape(spec, datatype, shape, field)
    if isinstance(data, LongList) and spec.datatype != "BYTES":
        array = _decode_long(data, spec.datatype, dimensions, f"{field}.data")
    else:
        flat = _flatten(data.load() if isinstance(data, LongList) else data, dimensions, f"{field}.data")
        array = _decode_elements(flat, spec.datatype, f"{field}.data")
    try:
        return array.reshape(dimensions)
    except ValueError as error:
        raise too_large(dimensions, field) from error


def json_elements(array: Array) -> Any:
    """The elements of ``array``, flat, in a form that orjson writes: an array, or a list of ``str``.

    JSON has no NaN and no infinity: orjson writes them as ``null``.
    """
    if array.dtype.kind in "OSU":
        return [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    return np.ascontiguousarray(array).ravel()


def json_pieces(datatype: Datatype, array: Array, memory: Memory) -> Iterator[bytes]:
    """The JSON of the elements of ``array``, of ``datatype``, flat, without its brackets, in pieces; ``memory`` is
    charged with each.

    Raises:
        RequestError: there is no memory for the next.
    """
    flat = array.reshape(-1)
    for start in range(0, len(flat), SHORT_ELEMENTS):
        elements = json_elements(numbers(datatype, flat[start : start + SHORT_ELEMENTS]))
        piece = orjson.dumps(elements, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        memory.hold(len(piece))
        yield b"," + piece if start else piece


def _decode_long(data: LongList, datatype: Datatype, shape: tuple[int, ...], field: str) -> Array:
    data.check(shape, field)
    count, dtype = elements(shape), NUMPY[datatype]
    data.hold(count * dtype.itemsize)
    array: Array = np.empty(count, dtype)
    read = 0
    for piece in data.pieces(field) if count else ():
        array[read : read + len(piece)] = _decode_elements(piece, datatype, field, read)
        read += len(piece)
    return array


def _flatten(data: Any, shape: tuple[int, ...], field: str) -> Sequence[Any]:
    if not isinstance(data, list):
        raise BadRequestError(f"{field} is {shown(data)}; give a list, flat or nested as the shape")
    rows: list[Any] = [data]
    if data and isinstance(data[0], list):
        for depth, size in enumerate(shape):
            if not all(type(row) is list and len(row) == size for row in rows):
                raise BadRequestError(f"{field} is nested but not as shape {list(shape)}: see dimension {depth}")
            rows = list(chain.from_iterable(rows))
        return rows
    count = elements(shape)
    if len(data) != count:
        raise BadRequestError(f"{field} has {len(data)} elements; shape {list(shape)} has {count}")
    return data


def _decode_elements(flat: Sequence[Any], datatype: Datatype, field: str, start: int = 0) -> Array:
    """``start`` is the index of the first."""
    allowed: set[type] = {int}
    if datatype == "BOOL":
        allowed = {bool}
    elif datatype == "BYTES":
        allowed = {str}
    elif datatype in FLOATS or datatype == "BF16":
        allowed = {int, float}
    if not set(map(type, flat)) <= allowed:
        index, found = next((i, item) for i, item in enumerate(flat) if type(item) not in allowed)
        raise BadRequestError(f"{field}[{start + index}] is {_JSON_NAMES[type(found)]}; the datatype is {datatype}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype=np.float64 if datatype == "BF16" else NUMPY[datatype])
            bits = to_bfloat16(array) if datatype == "BF16" else array
    except OverflowError as error:
        raise BadRequestError(f"{field} has an element out of the range of {datatype}") from error
    values = numbers(datatype, bits)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadRequestError(f"{field}[{start + index}] is out of the range of {datatype}")
    return bits
