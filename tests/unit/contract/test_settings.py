"""One loader of settings for three programs: every mistake names its variable, its value and what may stand there."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgemodel_compressor.settings
import edgemodel_operator.settings
import edgemodel_server.settings
from edgemodel_contract.settings import (
    SettingsError,
    boolean,
    duration,
    json_list,
    json_mapping,
    number,
    read_settings,
    setting,
    variables,
    whole,
)
from edgemodel_contract.written import write_duration

PROGRAMS = [
    edgemodel_operator.settings.Settings,
    edgemodel_compressor.settings.Settings,
    edgemodel_server.settings.Settings,
]


@dataclass(frozen=True, kw_only=True)
class Example:
    wanted: str = setting(str, None, "something that has no default")
    pause: float = setting(duration(0, 60), "1s", "a pause between two tries")


def test_a_default_is_written_as_a_person_would_write_it() -> None:
    assert read_settings(Example, {"EDGEMODEL_WANTED": "x"}) == Example(wanted="x", pause=1.0)
    assert read_settings(Example, {"EDGEMODEL_WANTED": "x", "EDGEMODEL_PAUSE": ""}).pause == 1.0
    assert read_settings(Example, {"EDGEMODEL_WANTED": "x", "EDGEMODEL_PAUSE": "250ms"}).pause == 0.25


def test_what_is_missing_is_named_with_its_meaning() -> None:
    with pytest.raises(SettingsError, match=r"^EDGEMODEL_WANTED is not set: something that has no default$"):
        read_settings(Example, {})


@pytest.mark.parametrize("text", ["1", "-1s", "61s", "1 s", "nan", "1e3s", "s"])
def test_a_mistake_names_variable_value_and_what_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings(Example, {"EDGEMODEL_WANTED": "x", "EDGEMODEL_PAUSE": text})
    allowed = "write a duration from 0s to 60s, like 500ms, 5s or 2m (a pause between two tries)"
    assert str(refusal.value) == f"EDGEMODEL_PAUSE is {text!r}: {allowed}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_speaks_one_dialect(program: type) -> None:
    for variable in variables(program):
        assert not variable.name.endswith(("_SECONDS", "_MS", "_BYTES")), "the value has the unit"
        assert variable.description
        if variable.default:
            variable.read(variable.default)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (whole(1, 9), "10"),
        (whole(1, 9), "0"),
        (whole(1, 9), "²"),
        (whole(), "-1"),
        (whole(), "9" * 30),
        (number(0, 5), "5.1"),
        (number(0, 5), "inf"),
        (boolean, "maybe"),
        (json_list, "default"),
        (json_list, "[1]"),
        (json_list, "[" * 100_000),
        (json_mapping, '{"a": 1}'),
        (json_mapping, "[]"),
    ],
)
def test_readers_say_what_to_write(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"^write "):
        read(text)


@given(st.integers(0, 86_400_000_000))
def test_what_one_program_writes_another_reads_exactly(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert duration()(write_duration(seconds)) == seconds
