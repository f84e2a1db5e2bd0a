"""Whether an object in the cluster still is what was applied."""

from decimal import Decimal
from typing import Any

from edgemodel_contract.quantity import parse_quantity

_QUANTITY_FIELDS = frozenset({"requests", "limits", "sizeLimit"})


def differs(desired: Any, present: Any) -> bool:
    """True if ``present`` lacks something of ``desired``.

    Fields that ``desired`` does not name belong to somebody else (defaults, other managers) and are passed over.
    Lists must have the same length; one whose entries have names, such as environment variables, may be in another
    order: server-side apply puts what is new behind what was there, and to apply again for that would restart servers.
    Quantities count as equal in any notation, and so do a missing field and its
    zero value, which servers leave out.
    """
    return _differs(desired, present, quantity=False)


def _differs(desired: Any, present: Any, *, quantity: bool) -> bool:
    if isinstance(desired, dict):
        return not isinstance(present, dict) or any(
            _differs(value, present[key], quantity=quantity or key in _QUANTITY_FIELDS)
            if key in present
            else bool(value)
            for key, value in desired.items()
        )
    if isinstance(desired, list):
        names, others = _by_name(desired), _by_name(present)
        if names is not None and others is not None:
            return names.keys() != others.keys() or any(
                _differs(item, others[name], quantity=quantity) for name, item in names.items()
            )
        return (
            not isinstance(present, list)
            or len(present) != len(desired)
            or any(_differs(one, other, quantity=quantity) for one, other in zip(desired, present, strict=True))
        )
    if quantity:
        return _amount(str(desired)) != _amount(str(present))
    return bool(desired != present)


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
