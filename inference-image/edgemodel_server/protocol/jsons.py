"""JSON bodies, strictly: what two readers could read differently is refused."""

import json
from collections.abc import Iterable
from typing import Any

import orjson

from edgemodel_server.errors import BadRequestError, shown

_DATA = "data"
_COLON_ESCAPE = b"\\u003"
"""How those of a colon begin."""


def loads(body: bytes | bytearray | memoryview) -> Any:
    """The value that ``body`` stands for.

    Raises:
        BadRequestError: not JSON by RFC 8259 (NaN and Infinity are not), not UTF-8, nested too deeply, or an object
            that has a key twice.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON (NaN and Infinity are not either): {error}") from error
    # The parser takes the last of equal keys. Every key has a colon, and most bodies have no other colon; one that is
    # written as an escape would stand in for another.
    content = bytes(body) if isinstance(body, memoryview) else body
    try:
        if content.count(b":") != _colons(value) or (b"\\" in content and _COLON_ESCAPE in content):
            json.loads(content, object_pairs_hook=_without_twins)
    except (RecursionError, ValueError) as error:
        raise BadRequestError("the body is not JSON that this server reads: it is nested too deeply") from error
    return value


def _colons(value: Any) -> int:
    """How many colons the shortest text of ``value`` has, but for those in objects among the elements of tensors."""
    count = 0
    open_values = [value]
    while open_values:
        item = open_values.pop()
        kind = type(item)
        if kind is dict:
            count += len(item)
            for key, inner in item.items():
                if ":" in key:
                    count += key.count(":")
                if key == _DATA:
                    count += _colons_in_elements(inner)
                elif type(inner) is str:
                    if ":" in inner:
                        count += inner.count(":")
                else:
                    open_values.append(inner)
        elif kind is list:
            open_values += [inner for inner in item if type(inner) is not int]
        elif kind is str:
            count += item.count(":")
    return count


def _colons_in_elements(data: Any) -> int:
    while isinstance(data, list) and data and isinstance(data[0], list):
        data = data[0]
    if isinstance(data, list) and data and isinstance(data[0], str):
        return sum(item.count(":") for item in data if isinstance(item, str))
    return 0


def _without_twins(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadRequestError(f"the body has the key {shown(key)} twice in one object")
        found[key] = value
    return found
