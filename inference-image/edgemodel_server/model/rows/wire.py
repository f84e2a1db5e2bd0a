"""Protobuf's wire format, read where it lies: large fields are views, so weights are neither parsed nor copied."""

import struct
from collections.abc import Iterator
from typing import Any

Value = int | memoryview
"""A varint or a fixed-width number as an unsigned integer; whatever has a length as a view of its bytes."""

_FIXED_WIDTH = {1: 8, 5: 4}
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are not protobuf, or end too early."""


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field, in order.

    Raises:
        WireError: the message is malformed.
    """
    return ((number, value) for number, value, _, _ in placed_fields(message))


def placed_fields(message: memoryview) -> Iterator[tuple[int, Value, int, int]]:
    """As ``fields``, and where each field begins and ends."""
    position, end = 0, len(message)
    while position < end:
        start = position
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value, start, position
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in _FIXED_WIDTH:
            length = _FIXED_WIDTH[kind]
        else:
            raise WireError(f"field {number} has wire type {kind}")
        if length > end - position:
            raise WireError(f"field {number} has {length} bytes and {end - position} are left")
        content = message[position : position + length]
        position += length
        yield number, content if kind == 2 else int.from_bytes(content, "little"), start, position


def packed(value: Value) -> list[int]:
    """The integers of a repeated field, one alone or packed; signed, of 64 bits."""
    if isinstance(value, int):
        return [signed(value)]
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(signed(number))
    return numbers


def packed_fixed(value: Value, code: str) -> list[Any]:
    """The numbers of a repeated fixed-width field, one alone or packed. ``code`` is that of ``struct``: f or d."""
    size = struct.calcsize("<" + code)
    content = value.to_bytes(size, "little") if isinstance(value, int) else bytes(value)
    if len(content) % size:
        raise WireError(f"{len(content)} bytes are not whole numbers of {size} bytes")
    return list(struct.unpack(f"<{len(content) // size}{code}", content))


def signed(value: int) -> int:
    """A varint as a signed integer of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def view(value: Value) -> memoryview:
    """Raises WireError where the field is a number."""
    if isinstance(value, int):
        raise WireError("a number is where a message or bytes should be")
    return value


def number(value: Value) -> int:
    """A signed integer of 64 bits. Raises WireError where the field is none."""
    if not isinstance(value, int):
        raise WireError("bytes are where a number should be")
    return signed(value)


def text(value: Value) -> str:
    """A string. Raises WireError where the field is a number, or not UTF-8."""
    try:
        return bytes(view(value)).decode()
    except UnicodeDecodeError as error:
        raise WireError("a name is not UTF-8") from error


def varint(value: int) -> bytes:
    """An unsigned integer as a varint."""
    content = bytearray()
    while value > 0x7F:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    content.append(value)
    return bytes(content)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(message):
            raise WireError("the bytes end within a number")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (1 << 64) - 1, position + index + 1
    raise WireError("a number has more than 10 bytes")
