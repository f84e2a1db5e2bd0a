"""Sizes, durations, percentages and CPUs as people write them."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.quantity import (
    DURATION_PATTERN,
    format_duration,
    format_megabytes,
    format_number,
    parse_cpu,
    parse_duration,
    parse_percent,
    parse_quantity,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("8Mi", 8 * 2**20),
        ("500Ki", 512_000),
        ("1.5G", 1_500_000_000),
        ("2k", 2000),
        ("1Ti", 2**40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("250us", 0.00025), ("1.5s", 1.5), ("2m", 120), ("1h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5%", 0.005), ("0%", 0), ("100%", 1)])
def test_percentages(text: str, share: float) -> None:
    assert parse_percent(text) == share


@pytest.mark.parametrize(("text", "cores"), [("500m", 0.5), ("1", 1), ("1.5", 1.5), ("0.125", 0.125)])
def test_cpus(text: str, cores: float) -> None:
    assert parse_cpu(text) == cores


PARSERS = [parse_size, parse_duration, parse_percent, parse_cpu]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "text", ["", "-1", "1 Mi", "Mi", "1e3", "1,5s", "1%%", "one", "1ms ", "١ms", "1Mi\n", "1s\n", "1%\n", "1\n"]
)
def test_what_is_no_quantity_is_refused_with_an_example(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse(text)


@given(st.integers(0, 10**6), st.sampled_from([("k", 10**3), ("M", 10**6), ("Ki", 2**10), ("Gi", 2**30), ("", 1)]))
def test_a_whole_number_of_units_is_exact(count: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{count}{unit[0]}") == count * unit[1]


@given(st.text(max_size=8))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in PARSERS:
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "write it like" in str(error)  # noqa: PT017


def test_megabytes_have_one_digit() -> None:
    assert format_megabytes(46_827_520) == "46.8"


# What Kubernetes reads, as its own test says (TestQuantityParse in apimachinery, pkg/api/resource/quantity_test.go).
_MAX = str(2**63 - 1)
KUBERNETES_CASES = [
    *((f"0{suffix}", "0") for suffix in ("", "n", "u", "m", "Ki", "k", "Mi", "M", "Gi", "G", "Ti", "T")),
    ("1", "1"),
    # Binary
    ("1Ki", "1024"), ("8Ki", "8192"), ("7Mi", "7340032"), ("6Gi", "6442450944"), ("5Ti", "5497558138880"),
    ("4Pi", "4503599627370496"), ("3Ei", "3458764513820540928"), ("10Ti", "10995116277760"),
    ("100Ti", "109951162777600"),
    # Decimal
    ("5n", "5e-9"), ("4u", "4e-6"), ("3m", "3e-3"), ("9", "9"), ("8k", "8e3"), ("50k", "5e4"), ("7M", "7e6"),
    ("6G", "6e9"), ("5T", "5e12"), ("40T", "4e13"), ("300T", "3e14"), ("2P", "2e15"), ("1E", "1e18"),
    # Exponents
    ("1E-3", "1e-3"), ("1e3", "1e3"), ("1E6", "1e6"), ("1e9", "1e9"), ("1E12", "1e12"), ("1e15", "1e15"),
    ("1E18", "1e18"), ("1e14", "1e14"), ("1e13", "1e13"), ("0.5e0", "0.5"), ("0.5e-1", "0.05"), ("0.5e-2", "0.005"),
    ("1.2e3", "1200"), ("1.3E+6", "13e5"), ("1.40e9", "14e8"), ("1.53E12", "153e10"), ("1.6e15", "16e14"),
    ("1.7E18", "17e17"),
    # Fractions
    ("100.035k", "100035"), ("0.001", "1e-3"), ("0.0005k", "0.5"), ("0.005", "5e-3"), ("0.05", "5e-2"), ("0.5", "0.5"),
    ("0.00050k", "0.5"), ("0.00500", "5e-3"), ("0.05000", "5e-2"), ("0.50000", "0.5"), ("10.035M", "10035e3"),
    ("9.01", "9.01"), ("8.1k", "8100"), ("7.123456M", "7123456"), ("6.987654321G", "6987654321"), ("5.444T", "5444e9"),
    ("40.1T", "401e11"), ("300.2T", "3002e11"), ("2.5P", "25e14"), ("1.01E", "101e16"),
    ("100.035Ki", "102435.84"), ("0.5Mi", "524288"), ("0.05Gi", "53687091.2"), ("0.025Ti", "27487790694.4"),
    # What is rounded and what saturates
    ("3.001n", "4e-9"), ("1.1E-9", "2e-9"), ("0.0000000001", "1e-9"), ("0.0000000005", "1e-9"),
    ("0.00000000050", "1e-9"), ("0.5e-9", "1e-9"), ("0.9n", "1e-9"), ("0.00000012345", "124e-9"),
    ("0.00000012354", "124e-9"), ("9Ei", _MAX), ("9223372036854775807Ki", _MAX), ("12E", "12e18"),
    # What nobody would write
    ("0.000000000001Ki", "2e-9"), (".001", "1e-3"), (".0001k", "0.1"), ("1.", "1"), ("1.G", "1e9"),
]  # fmt: skip
KUBERNETES_REFUSES = ["", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", " 1", "1 ", "1KI", "Ki"]


@pytest.mark.parametrize(("text", "value"), KUBERNETES_CASES)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)
    if text != "0":
        assert parse_quantity(f"-{text}") == -Decimal(value)
        assert parse_quantity(f"+{text}") == Decimal(value)


@pytest.mark.parametrize("text", ["1e9999999999", "1e-9999999999", "1Mi\n"])
def test_what_nobody_can_mean_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize("text", KUBERNETES_REFUSES)
def test_what_kubernetes_takes_for_no_quantity_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0us"), (-0.0, "0us"), (4e-13, "0us"), (1e-12, "0.000001us"), (1e-10, "0.0001us"), (2e-7, "0.2us")],
)
def test_the_least_that_is_told_is_a_picosecond(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 1e6))
def test_a_duration_is_written_as_the_schema_wants_it(seconds: float) -> None:
    text = format_duration(seconds)
    assert re.search(DURATION_PATTERN, text)
    assert len(text) <= 32
    assert parse_duration(text) == pytest.approx(seconds, rel=0.006, abs=1e-12)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0114, "11.4ms"), (0.00025, "250us"), (1.5, "1.5s"), (0.9996, "1s"), (0.0009996, "1ms"), (1234.5, "1234s")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(1e-3, 1e12))
def test_a_number_is_written_without_an_exponent(value: float) -> None:
    assert "e" not in format_number(value)
    assert float(format_number(value)) == pytest.approx(value, rel=0.006)
