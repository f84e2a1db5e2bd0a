"""Settings of the three programs, from environment variables: one way to declare, to read and to describe them.

A program has one frozen dataclass whose fields are made by ``setting``. The variable of a field is ``EDGEMODEL_`` and
the field's name in capitals.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from edgemodel_contract.quantity import format_duration, parse_duration

PREFIX = "EDGEMODEL_"

S = TypeVar("S")
T = TypeVar("T")
_KEY = "setting"


class SettingsError(ValueError):
    """A variable is missing or cannot be read; the message has its name, its value and what may stand there."""


@dataclass(frozen=True)
class Variable:
    """One environment variable. ``default`` is as a person would write it; None where the variable is required."""

    name: str
    field: str
    default: str | None
    read: Callable[[str], Any]
    description: str


@dataclass(frozen=True)
class _Setting:
    read: Callable[[str], Any]
    default: str | None
    description: str


def setting(read: Callable[[str], T], default: str | None, description: str) -> T:
    """A field of a dataclass of settings. ``read`` makes its value of a text, or raises ValueError with what may be
    written instead. ``default`` is such a text; None: the variable is required.
    """
    metadata = {_KEY: _Setting(read, default, description)}
    if default is None:
        made: Any = field(metadata=metadata)
    else:
        made = field(default_factory=partial(read, default), metadata=metadata)
    value: T = made
    return value


def variables(settings: type[Any]) -> tuple[Variable, ...]:
    """The variables of a dataclass of settings, in the order of its fields."""
    return tuple(_variable(item) for item in fields(settings) if _KEY in item.metadata)


def read_settings(settings: type[S], environment: Mapping[str, str]) -> S:
    """``settings`` from ``environment``; an unset or empty variable takes its default.

    Raises:
        SettingsError: a variable is missing or cannot be read.
    """
    values: dict[str, Any] = {}
    for variable in variables(settings):
        text = environment.get(variable.name, "")
        if text:
            try:
                values[variable.field] = variable.read(text)
            except ValueError as error:
                raise SettingsError(f"{variable.name} is {text!r}: {error} ({variable.description})") from error
        elif variable.default is None:
            raise SettingsError(f"{variable.name} is not set: {variable.description}")
    return settings(**values)


def describe(settings: type[Any]) -> str:
    """One paragraph per variable, for ``--help``."""
    rows = []
    for item in variables(settings):
        default = "required" if item.default is None else f"default {item.default or 'unset'}"
        rows.append(f"  {item.name} ({default})\n      {item.description}")
    return "\n".join(rows)


def whole(low: int = 0, high: int = 2**31) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        if re.fullmatch("[0-9]{1,20}", text) is None or not low <= int(text) <= high:
            raise ValueError(f"write a whole number from {low} to {high}")
        return int(text)

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """Reads a number within bounds."""

    def read(text: str) -> float:
        if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", text) is None or not low <= float(text) <= high:
            raise ValueError(f"write a number from {low:.15g} to {high:.15g}, like 50 or 0.5")
        return float(text)

    return read


def duration(low: float = 0.0, high: float = 86400.0) -> Callable[[str], float]:
    """Reads a duration such as ``30s``, in seconds, within bounds in seconds."""

    def read(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = -1.0
        if not low <= seconds <= high:
            least = format_duration(low) if low else "0s"
            raise ValueError(f"write a duration from {least} to {format_duration(high)}, like 500ms, 5s or 2m")
        return seconds

    return read


def boolean(text: str) -> bool:
    """Reads true or false, or 1 or 0."""
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError("write true or false")
    return values[text.lower()]


def matching(pattern: str, example: str) -> Callable[[str], str]:
    """Reads a text that ``pattern`` matches as a whole; ``example`` says how it looks."""

    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"write it like {example}")
        return text

    return read


def json_list(text: str) -> tuple[str, ...]:
    """Reads a list of texts as JSON."""
    value = _json(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('write a list of texts as JSON, like ["one", "two"]')
    return tuple(value)


def json_mapping(text: str) -> dict[str, str]:
    """Reads a mapping of texts as JSON."""
    value = _json(text)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError('write a mapping of texts as JSON, like {"name": "value"}')
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _variable(item: Field[Any]) -> Variable:
    made: _Setting = item.metadata[_KEY]
    return Variable(PREFIX + item.name.upper(), item.name, made.default, made.read, made.description)
