"""Whether an object in the cluster still is what was applied."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from edgemodel_contract.quantity import parse_quantity
from edgemodel_operator.observed import Difference

_QUANTITY_FIELDS = frozenset({"requests", "limits", "sizeLimit"})

_REPRESENTATION_LIMIT = 200


def differs(desired: Any, present: Any) -> bool:
    """True if ``present`` lacks something of ``desired``.

    Fields that ``desired`` does not name belong to somebody else (defaults, other managers) and are passed over.
    Lists must have the same length; one whose entries have names, such as environment variables, may be in another
    order: server-side apply puts what is new behind what was there, and to apply again for that would restart servers.
    Quantities count as equal in any notation, and so do a missing field and its
    zero value, which servers leave out.
    """
    return next(_differences(desired, present, "", quantity=False), None) is not None


def differences(desired: Any, present: Any) -> tuple[Difference, ...]:
    """All of what `differs` is about, in the order of ``desired``."""
    return tuple(_differences(desired, present, "", quantity=False))


def _differences(desired: Any, present: Any, path: str, *, quantity: bool) -> Iterator[Difference]:
    if isinstance(desired, dict) and isinstance(present, dict):
        for key, value in desired.items():
            within = f"{path}.{key}" if path else key
            if key in present:
                yield from _differences(value, present[key], within, quantity=quantity or key in _QUANTITY_FIELDS)
            elif value:
                yield within, "nothing"
    elif isinstance(desired, list) and isinstance(present, list):
        yield from _list_differences(desired, present, path, quantity=quantity)
    elif isinstance(desired, dict | list) or (
        _amount(str(desired)) != _amount(str(present)) if quantity else desired != present
    ):
        yield path, repr(present)[:_REPRESENTATION_LIMIT]


def _list_differences(desired: list[Any], present: list[Any], path: str, *, quantity: bool) -> Iterator[Difference]:
    names, others = _by_name(desired), _by_name(present)
    if names is not None and others is not None:
        for name, item in names.items():
            if name in others:
                yield from _differences(item, others[name], f"{path}[{name}]", quantity=quantity)
            else:
                yield f"{path}[{name}]", "nothing"
        for name in sorted(others.keys() - names.keys()):
            yield f"{path}[{name}]", repr(others[name])[:_REPRESENTATION_LIMIT]
    elif len(present) != len(desired):
        yield path, repr(present)[:_REPRESENTATION_LIMIT]
    else:
        for index, (one, other) in enumerate(zip(desired, present, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]", quantity=quantity)


def _by_name(items: Any) -> dict[str, Any] | None:
    """The entries of a list by their names; None if they have none, or not one of their own each."""
    if not isinstance(items, list) or not all(isinstance(item, dict) and "name" in item for item in items):
        return None
    named = {item["name"]: item for item in items}
    return named if len(named) == len(items) else None


def _amount(text: str) -> Decimal | str:
    try:
        return parse_quantity(text)
    except ValueError:
        return text
