"""Raw bytes to numpy arrays and back: row-major, little-endian, without padding.

The form of the binary tensor extension of the Open Inference Protocol's REST, and of ``raw_input_contents`` in its
gRPC. An element of ``BYTES`` is its length as a 32-bit unsigned integer, then that many bytes.
"""

from struct import Struct

import numpy as np

from edgemodel_contract.task import TensorSpec
from edgemodel_server.errors import BadRequestError
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.memory import Memory
from edgemodel_server.protocol.shapes import elements, too_large

_LENGTH = Struct("<I")
_STRING_BYTES = 96
"""Of a string beside its characters, and of its places in a list and in an array."""
_WIDEST = 4
"""Bytes of a character."""


def decode_raw(
    spec: TensorSpec, shape: tuple[int, ...], content: memoryview, field: str, memory: Memory | None = None
) -> Array:
    """The array that ``content`` holds. It is a view of ``content``, read-only, except for ``BOOL`` and ``BYTES``.

    ``shape`` fits ``spec`` already. ``field`` is where the tensor was found, for messages. NaN and infinities are
    numbers like others here. ``memory`` is charged with strings; None: nothing is, for content that is short.

    Raises:
        BadRequestError: another size than the shape's, or bytes that are no value of the datatype.
        RequestError: there is no memory for the strings.
    """
    if spec.datatype == "BYTES":
        count = elements(shape)
        if count * _LENGTH.size > len(content):
            raise BadRequestError(f"{field} has {len(content)} bytes; {count} elements of BYTES have at least 4 each")
        if memory is not None:
            memory.hold(strings_bytes(count, len(content)))
        return _decode_strings(shape, content, field)
    dtype = NUMPY[spec.datatype]
    size = elements(shape) * dtype.itemsize
    if len(content) != size:
        raise BadRequestError(f"{field} has {len(content)} bytes; {spec.datatype} of shape {list(shape)} has {size}")
    flat: Array = np.frombuffer(content, dtype=dtype.newbyteorder("<"))
    if spec.datatype == "BOOL":
        # Other values than 0 and 1 would be undefined behaviour in the kernels.
        bits = flat.view(np.uint8)
        if bits.size and bits.max() > 1:
            raise BadRequestError(f"{field}[{int((bits > 1).argmax())}] is {bits[bits > 1][0]}; a BOOL is 0 or 1")
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise too_large(shape, field) from error


def encode_raw(array: Array, memory: Memory | None = None) -> memoryview:
    """The bytes of ``array``, without a copy where it lies in memory as it goes over the wire. ``memory`` is charged
    with them where they are a copy.

    Raises:
        RequestError: there is no memory for them.
    """
    if array.dtype.kind in "OSU":
        encoded = _encode_strings(array)
        if memory is not None:
            memory.hold(len(encoded))
        return memoryview(encoded)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _decode_strings(shape: tuple[int, ...], content: memoryview, field: str) -> Array:
    count = elements(shape)
    items: list[str] = []
    position = 0
    for index in range(count):
        if position + _LENGTH.size > len(content):
            raise BadRequestError(f"{field}[{index}] is missing: the {len(content)} bytes end before it")
        (length,) = _LENGTH.unpack_from(content, position)
        position += _LENGTH.size
        if length > len(content) - position:
            raise BadRequestError(
                f"{field}[{index}] says it has {length} bytes; {len(content) - position} are left: write each element "
                "as its length in 4 bytes, little-endian, and its bytes"
            )
        items.append(_text(content[position : position + length], f"{field}[{index}]"))
        position += length
    if position != len(content):
        raise BadRequestError(f"{field} has {len(content) - position} bytes after its {count} elements")
    return strings(items, shape, field)


def strings_bytes(count: int, size: int) -> int:
    """At most so many bytes are taken by an array of ``count`` elements of BYTES, ``size`` bytes together."""
    return _STRING_BYTES * count + _WIDEST * size


def strings(items: list[str], shape: tuple[int, ...], field: str) -> Array:
    """An array of ``BYTES``. Raises BadRequestError if numpy cannot index the shape."""
    array: Array = np.empty(len(items), dtype=object)
    array[:] = items
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise too_large(shape, field) from error


def text(item: bytes, field: str) -> str:
    """The element that ``item`` stands for. Raises BadRequestError if it is not UTF-8, which ONNX strings are."""
    return _text(memoryview(item), field)


def _text(item: memoryview, field: str) -> str:
    try:
        return str(item, "utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError(f"{field} is not UTF-8; the model's strings are text") from error


def _encode_strings(array: Array) -> bytes:
    encoded = bytearray()
    for item in array.ravel():
        value = item if isinstance(item, bytes) else str(item).encode()
        encoded += _LENGTH.pack(len(value)) + value
    return bytes(encoded)
