"""JSON bodies, strictly: what two readers could read differently is refused."""

import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import orjson

from edgemodel_server.errors import BadRequestError, shown
from edgemodel_server.protocol.memory import Memory, charged

Text = bytes | bytearray | memoryview
PIECE_BYTES = 64 * 1024
"""Of a text read at a time. As objects it is some megabyte."""
_DATA = "data"
_COLON_ESCAPE = b"\\u003"
"""How those of a colon begin."""
_PAIRS = 2
"""Objects take so many times their memory while their pairs are looked at."""


def loads(body: Text, memory: Memory | None = None) -> Any:
    """The value that ``body`` stands for. ``memory`` is charged with what it takes to look for keys that come twice;
    None: for a short ``body``.

    Raises:
        BadRequestError: not JSON by RFC 8259 (NaN and Infinity are not), not UTF-8, nested too deeply, or an object
            that has a key twice.
        RequestError: there is no memory to look for keys.
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
            with nullcontext() if memory is None else charged(memory, _PAIRS * tree_bytes(content)):
                json.loads(content, object_pairs_hook=_without_twins)
    except (RecursionError, ValueError) as error:
        raise BadRequestError("the body is not JSON that this server reads: it is nested too deeply") from error
    return value


def tree_bytes(text: Text) -> int:
    """At most so many bytes are the objects that JSON stands for."""
    values = count(text, b",") + count(text, b":")
    # A character that is not of ASCII may make all others of its string as wide as itself.
    width = 1 if all(piece.isascii() and b"\\" not in piece for piece in _pieces(text)) else 4
    return width * len(text) + 96 * values + 96 * count(text, b"[") + 256 * count(text, b"{")


def count(text: Text, character: bytes) -> int:
    """How often ``character`` is in ``text``."""
    return sum(piece.count(character) for piece in _pieces(text))


def _pieces(text: Text) -> Iterator[bytes]:
    """``text``, of which no more than PIECE_BYTES are copied at a time."""
    view = memoryview(text)
    return (bytes(view[start : start + PIECE_BYTES]) for start in range(0, len(view), PIECE_BYTES))


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
