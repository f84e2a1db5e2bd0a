"""How numbers are written in an EdgeModel: as text with a unit, since floats lose digits between programs.

A struct holds a number in base units (seconds, bytes, a fraction). Its annotation names the form that people write it
in; ``read`` turns a whole document from that form into base units, and ``write`` back.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, NamedTuple

from msgspec import Meta
from msgspec import inspect as types

from edgemodel_contract.quantity import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    SIZE_PATTERN,
    parse_duration,
    parse_percent,
    parse_size,
)

NUMBER_PATTERN = r"^-?[0-9]{1,12}(\.[0-9]{1,18})?(/[1-9][0-9]{0,8})?$"
SHARE_PATTERN = r"^(100(\.0+)?|[0-9]{1,2}(\.[0-9]{1,9})?)%$"
PARTIAL_SHARE_PATTERN = r"^[0-9]{1,2}(\.[0-9]{1,9})?%$"


class Form(NamedTuple):
    """How one kind of number is written."""

    pattern: str
    max_length: int
    example: str
    read: Callable[[str], float]
    write: Callable[[Any], str]


def parse_number(text: str) -> float:
    """``"0.485"`` or ``"1/255"``. Raises ValueError with an example for anything else."""
    try:
        return float(Fraction(text)) if "/" in text else float(Decimal(text))
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"{text!r} is not a number: write it like 0.485 or 1/255") from error


def _exact(value: float) -> str:
    """All digits and no exponent."""
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _write_number(value: float) -> str:
    plain = _exact(value)
    fraction = Fraction(value).limit_denominator(1000)
    return f"{fraction.numerator}/{fraction.denominator}" if len(plain) > 8 and float(fraction) == value else plain


def _write_percent(value: float) -> str:
    return f"{_exact(float(Decimal(repr(value)) * 100))}%"


def write_duration(seconds: float) -> str:
    """Seconds as they are written in an EdgeModel and in variables, exactly."""
    for unit, factor in (("h", "3600"), ("m", "60"), ("s", "1"), ("ms", "0.001"), ("us", "0.000001")):
        count = Decimal(repr(seconds)) / Decimal(factor)
        if count >= 1 and count == count.to_integral_value():
            return f"{int(count)}{unit}"
    return f"{_exact(seconds)}s"


def _write_size(size: int) -> str:
    for unit, factor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size and not size % factor:
            return f"{size // factor}{unit}"
    return str(size)


FORMS: dict[str, Form] = {
    "duration": Form(DURATION_PATTERN, 32, "20m", parse_duration, write_duration),
    "size": Form(SIZE_PATTERN, 32, "8Mi", parse_size, _write_size),
    "percent": Form(PERCENT_PATTERN, 16, "1%", parse_percent, _write_percent),
    "share": Form(SHARE_PATTERN, 16, "25%", parse_percent, _write_percent),
    "partialShare": Form(PARTIAL_SHARE_PATTERN, 16, "25%", parse_percent, _write_percent),
    "number": Form(NUMBER_PATTERN, 42, "0.485", parse_number, _write_number),
}

_FORM = "form"
Seconds = Annotated[float, Meta(ge=0, extra={_FORM: "duration"})]
"""Written ``10ms``, ``1.5s``, ``20m``."""
Bytes = Annotated[int, Meta(ge=0, extra={_FORM: "size"})]
"""Written ``8Mi``, ``500k``."""
Percent = Annotated[float, Meta(ge=0, extra={_FORM: "percent"})]
"""A fraction, without an upper bound; written ``1%``, ``150%``."""
Share = Annotated[float, Meta(ge=0, le=1, extra={_FORM: "share"})]
"""A fraction up to 1; written ``25%``."""
PartialShare = Annotated[float, Meta(ge=0, lt=1, extra={_FORM: "partialShare"})]
"""A fraction below 1; written ``25%``."""
Number = Annotated[float, Meta(extra={_FORM: "number"})]
"""Written ``0.485``, or as a fraction, ``1/255``."""
PositiveNumber = Annotated[float, Meta(gt=0, extra={_FORM: "number"})]


def form_of(kind: types.Type) -> Form | None:
    """The form that numbers of a type are written in; None where it is none of those above."""
    name = (kind.extra or {}).get(_FORM) if isinstance(kind, types.Metadata) else None
    return FORMS[name] if name is not None else None


def read(document: Any, kind: type, path: str) -> Any:
    """``document``, plain JSON data as people write a ``kind``, with its numbers in base units.

    What does not have the shape of ``kind`` is left for msgspec to complain about.

    Raises:
        ValueError: a number is not written as its form wants it; the message begins with the path of the field.
    """

    def convert(form: Form, value: Any, where: str) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"{where}: {value!r} is not a text; write it like {form.example!r}")
        try:
            return form.read(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    return _walk(document, _information(kind), convert, path)


def write(document: Any, kind: types.Type) -> Any:
    """The inverse of ``read``."""
    return _walk(document, kind, lambda form, value, _: form.write(value), "")


@cache
def _information(kind: type) -> types.Type:
    return types.type_info(kind)


def _walk(value: Any, kind: types.Type, convert: Callable[[Form, Any, str], Any], path: str) -> Any:
    form = form_of(kind)
    if value is None:
        return None
    if form is not None:
        return convert(form, value, path)
    match kind:
        case types.Metadata():
            return _walk(value, kind.type, convert, path)
        case types.UnionType():
            members = [member for member in kind.types if not isinstance(member, types.NoneType)]
            return _walk(value, members[0], convert, path) if len(members) == 1 else value
        case types.StructType() if isinstance(value, dict):
            known = {field.encode_name: field.type for field in kind.fields}
            return {
                name: _walk(part, known[name], convert, f"{path}.{name}") if name in known else part
                for name, part in value.items()
            }
        case types.VarTupleType() | types.ListType() if isinstance(value, list | tuple):
            return [_walk(part, kind.item_type, convert, f"{path}[{index}]") for index, part in enumerate(value)]
        case types.DictType() if isinstance(value, dict):
            return {name: _walk(part, kind.value_type, convert, f"{path}.{name}") for name, part in value.items()}
    return value
