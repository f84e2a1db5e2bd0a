"""What all structs have in common: their form, and rules across their fields."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

S = TypeVar("S", bound="Struct")


class Rule(NamedTuple):
    """What must hold across the fields of one object, said twice in one place: as CEL for API servers from 1.25 on,
    and as a predicate for older ones, the operator and the command line. ``message`` says what is wrong and what to do.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Frozen, keyword-only, camelCase in JSON, defaults left out: an added field keeps old digests.

    ``RULES`` hold for the object as a whole.
    """

    RULES: ClassVar[tuple[Rule, ...]] = ()


def broken_rules(part: Any, path: str) -> Iterator[tuple[str, Rule]]:
    """Every rule that does not hold in ``part`` or inside it, with the path of the object that it is about."""
    if isinstance(part, list | tuple):
        for index, item in enumerate(part):
            yield from broken_rules(item, f"{path}[{index}]")
    if not isinstance(part, Struct):
        return
    for rule in part.RULES:
        if not rule.holds(part):
            yield path, rule
    for field in msgspec.structs.fields(part):
        yield from broken_rules(getattr(part, field.name), f"{path}.{field.encode_name}")


def project(value: Struct, kind: type[S]) -> S:
    """The fields of ``value`` that ``kind``, a base of its class, has."""
    return kind(**{name: getattr(value, name) for name in kind.__struct_fields__})
