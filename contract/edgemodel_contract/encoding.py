"""One JSON form for everything that is stored or digested: sorted keys, no white space, UTF-8."""

import functools
import hashlib
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """The canonical JSON bytes of ``value``; equal values give equal bytes."""
    return msgspec.json.encode(value, order="sorted")


def decode(data: bytes | str, kind: type[T]) -> T:
    """Read ``data`` as ``kind``, strictly.

    Raises:
        ValueError: ``data`` is not JSON or does not have the shape of ``kind``; the message names the field.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a valid {kind.__name__}: {error}") from error


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``, 64 lower-case hex digits; a default counts as left out."""
    return hashlib.sha256(encode(_without_defaults(value))).hexdigest()


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Read from the annotations once: that takes longer than all the rest of a digest."""
    return msgspec.structs.fields(kind)


def _without_defaults(value: Any) -> Any:
    """``value`` as plain JSON types.

    The encoder itself leaves out a field only if it *is* the default object; whether an equal one is, depends on where
    the text came from, and the two sides of a border would disagree about the digest.
    """
    if isinstance(value, msgspec.Struct):
        plain = {}
        for field in _fields(type(value)):
            content = getattr(value, field.name)
            factory = field.default_factory
            default = field.default if factory is msgspec.NODEFAULT else factory()
            if content != default:
                plain[field.encode_name] = _without_defaults(content)
        return plain
    if isinstance(value, tuple | list):
        return [_without_defaults(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items()}
    return value
