"""Whether an object in the cluster still is what was applied."""

from decimal import Decimal
from typing import Any

_SUFFIX = {"": Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(factor)
    for power, letter in enumerate("kMGTP", start=1)
    for unit, factor in ((letter, 1000**power), (f"{letter.upper()}i", 1024**power))
}
_QUANTITY_FIELDS = frozenset({"requests", "limits", "sizeLimit"})


def differs(desired: Any, present: Any) -> bool:
    """True if ``present`` lacks something of ``desired``.

    Fields that ``desired`` does not name belong to somebody else (defaults, other managers) and are passed over.
    Lists must have the same length. Quantities count as equal in any notation, and so do a missing field and its
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
        return (
            not isinstance(present, list)
            or len(present) != len(desired)
            or any(_differs(one, other, quantity=quantity) for one, other in zip(desired, present, strict=True))
        )
    if quantity:
        return _amount(str(desired)) != _amount(str(present))
    return bool(desired != present)


def _amount(text: str) -> Decimal | str:
    number = text.rstrip("mkKMGTPi")
    try:
        return Decimal(number) * _SUFFIX[text[len(number) :]]
    except (ArithmeticError, KeyError):
        return text
