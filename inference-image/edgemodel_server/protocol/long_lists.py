"""JSON that is long because of lists of numbers, read piece by piece.

As Python's objects a list of numbers takes up to twenty times the bytes of its text, and to make them all at once holds
Python's lock for as long as it takes. So the lists are cut out of the text, what is left is read as any short request,
and of each list one piece at a time becomes numbers in the array that it is for.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import orjson

from edgemodel_server.errors import BadRequestError
from edgemodel_server.protocol.jsons import PIECE_BYTES, Text, count, tree_bytes
from edgemodel_server.protocol.memory import Memory, charged
from edgemodel_server.protocol.shapes import elements

SHORT_BYTES = 64 * 1024
"""JSON up to this size is read whole, and not charged: there is never much of it."""
MIN_BYTES = 4096
"""Shorter lists stay where they are."""
_PLACEHOLDER = b"[]"
_OF_SCALARS = b"0123456789+-.eE \t\r\n" + b"truefalsn"
"""What numbers, ``true``, ``false`` and ``null`` are written with."""
_TENSOR_BYTES = 256
"""What an object among the inputs takes while the lists are looked for."""


class LongList:
    """A list in a request, as ``text``, of which no element has been read. It is JSON, but may hold anything."""

    def __init__(self, text: memoryview, memory: Memory) -> None:
        """``memory`` is charged with what is made of it."""
        self._text = text
        self._memory = memory

    def load(self) -> Any:
        """All of it as Python's objects.

        Raises:
            RequestError: there is no memory for so many.
        """
        self._memory.hold(tree_bytes(self._text))
        try:
            return orjson.loads(self._text)
        except orjson.JSONDecodeError as error:
            raise BadRequestError(f"the body is not JSON: {error}") from error

    def hold(self, size: int) -> None:
        """Charge ``size`` bytes that are made of it.

        Raises:
            RequestError: there is no memory for them.
        """
        self._memory.hold(size)

    def check(self, shape: tuple[int, ...], field: str) -> None:
        """Raise BadRequestError unless its elements are numbers or other scalars, as many as ``shape`` has, and flat or
        nested so."""
        if bytes(self._text[1:PIECE_BYTES]).lstrip().startswith(b"["):
            wrong = f"{field} is nested but not as shape {list(shape)}"
        else:
            found, wanted = count(self._text, b",") + 1, elements(shape)
            if found != wanted:
                raise BadRequestError(f"{field} has {found} elements; shape {list(shape)} has {wanted}")
            shape, wrong = (found,), f"{field} has strings, lists or objects among its numbers"
        size = _outline_size(shape)
        # A shape may say anything: the text has at least its brackets and commas.
        if not 2 <= size <= len(self._text):
            raise BadRequestError(wrong)
        with charged(self._memory, 2 * size // max(1, shape[0])):
            if not self._is_like(shape):
                raise BadRequestError(wrong)

    def pieces(self, field: str) -> Iterator[list[Any]]:
        """The elements, once ``check`` has found them to be scalars, some at a time.

        Raises:
            BadRequestError: one is written with more than PIECE_BYTES, or is no scalar.
        """
        position, end = 1, len(self._text) - 1
        read = 0
        while position < end:
            piece = bytes(self._text[position : min(position + PIECE_BYTES, end)])
            if position + len(piece) < end:
                piece = piece[: piece.rfind(b",") + 1]
                if not piece:
                    raise BadRequestError(f"{field}[{read}] is written with more than {PIECE_BYTES} bytes")
            position += len(piece)
            try:
                found: list[Any] = orjson.loads(b"[%b]" % piece.translate(None, b"[]").removesuffix(b","))
            except orjson.JSONDecodeError as error:
                raise BadRequestError(f"{field} is not JSON from element {read} on: {error}") from error
            read += len(found)
            yield found

    def _is_like(self, shape: tuple[int, ...]) -> bool:
        """Whether only brackets and commas are left without the scalars, and those are nested as ``shape``."""
        # With a comma in the place of its last bracket, a list is the same for each of its entries.
        unit = _outline(shape[1:]) + b"," if shape[0] else b""
        position, size = 0, len(self._text)
        for start in range(1, size, PIECE_BYTES):
            piece = bytes(self._text[start : start + PIECE_BYTES])
            if start + len(piece) == size:
                piece = piece[:-1] + b","
            piece = piece.translate(None, _OF_SCALARS)
            if piece != _repeated(unit, position, len(piece)):
                return False
            position += len(piece)
        return position == len(unit) * shape[0]


class _Tensor(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw(b"")


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Tensor]


_read = msgspec.json.Decoder(_Request).decode


def cut_lists(text: Text, memory: Memory) -> tuple[Text, dict[int, LongList]]:
    """An inference request with empty lists in the place of long ones, and those, by the number of the input whose
    ``data`` each is. Where ``text`` is not such a request, nothing is cut.

    Raises:
        RequestError: there is no memory to look for them.
    """
    try:
        with charged(memory, _TENSOR_BYTES * count(text, b"{")):
            # Of a key that comes twice the last counts; what is left has both, and is refused for it.
            lists = [(index, memoryview(tensor.data)) for index, tensor in enumerate(_read(text).inputs)]
            lists = [(index, view) for index, view in lists if len(view) >= MIN_BYTES and bytes(view[:1]) == b"["]
    except (msgspec.MsgspecError, RecursionError):
        return text, {}
    whole = memoryview(text)
    begin = _address(whole)
    found: dict[int, LongList] = {}
    left: list[memoryview | bytes] = []
    position = 0
    for index, view in lists:
        if not count(view, b","):
            continue
        start = _address(view) - begin
        found[index] = LongList(whole[start : start + len(view)], memory)
        left += [whole[position:start], _PLACEHOLDER]
        position = start + len(view)
    if not found:
        return text, {}
    left.append(whole[position:])
    return b"".join(left), found


def put_back(request: Any, lists: dict[int, LongList]) -> None:
    """Each list to the input that it is of."""
    for index, found in lists.items():
        request["inputs"][index]["data"] = found


def _address(view: memoryview) -> int:
    """Where the bytes are in memory."""
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address


def _outline_size(shape: tuple[int, ...]) -> int:
    """``len(_outline(shape))``, however large."""
    size = 0
    for length in reversed(shape):
        size = 2 + length * size + max(0, length - 1)
    return size


def _outline(shape: tuple[int, ...]) -> bytes:
    """A list nested as ``shape`` without the scalars in it."""
    outline = b""
    for length in reversed(shape):
        outline = b"[" + b",".join([outline] * length) + b"]"
    return outline


def _repeated(unit: bytes, start: int, size: int) -> bytes:
    """Of ``unit`` over and over, ``size`` bytes from ``start`` on."""
    if not unit:
        return b""
    start %= len(unit)
    part = unit[start : start + size]
    missing = size - len(part)
    return part + (unit * (missing // len(unit) + 1))[:missing] if missing else part
