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
@pytest.mark.parametrize("text", ["", "-1", "1 Mi", "Mi", "1e3", "1,5s", "1%%", "one", "1ms ", "١ms"])
def test_what_is_no_quantity_is_refused_with_an_example(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse(text)


@given(st.integers(0, 10**6), st.sampled_from([("k", 10**3), ("M", 10**6), ("Ki", 2**10), ("Gi", 2**30), ("", 1)]))
def test_a_whole_number_of_units_is_exact(count: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{count}{unit[0]}") == count * unit[1]


@given(st.floats(1e-6, 1e5))
def test_a_formatted_duration_reads_back_to_three_digits(seconds: float) -> None:
    text = format_duration(seconds)
    if "e" not in text:
        assert parse_duration(text) == pytest.approx(seconds, rel=0.006)


@given(st.text(max_size=8))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in PARSERS:
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert "write it like" in str(error)  # noqa: PT017


def test_megabytes_have_one_digit() -> None:
    assert format_megabytes(46_827_520) == "46.8"


# From TestQuantityParse of Kubernetes' apimachinery (pkg/api/resource/quantity_test.go).
KUBERNETES_CASES = [
    ("0", "0"), ("0n", "0"), ("0u", "0"), ("0m", "0"), ("0Ki", "0"), ("0k", "0"), ("0Mi", "0"), ("0Ti", "0"),
    ("1Ki", "1024"), ("8Ki", "8192"), ("7Mi", "7340032"), ("6Gi", "6442450944"), ("5Ti", "5497558138880"),
    ("4Pi", "4503599627370496"), ("3Ei", "3458764513820540928"), ("10Ti", "10995116277760"),
    ("8", "8"), ("1.5", "1.5"), ("0.1Mi", "104857.6"), ("5M", "5000000"), ("5Mi", "5242880"),
    ("100", "100"), ("5E", "5000000000000000000"), ("6e3", "6000"), ("6E3", "6000"), ("6e-3", "0.006"),
    ("8k", "8000"), ("50k", "50000"), ("4P", "4000000000000000"), ("2n", "0.000000002"), ("80u", "0.00008"),
    ("3m", "0.003"), ("250m", "0.25"), ("-1Ki", "-1024"), ("+1Ki", "1024"), (".5", "0.5"), ("1.", "1"),
]  # fmt: skip
KUBERNETES_REFUSES = ["", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", " 1", "1 ", "1KI", "Ki"]


@pytest.mark.parametrize(("text", "value"), KUBERNETES_CASES)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", KUBERNETES_REFUSES)
def test_what_kubernetes_takes_for_no_quantity_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


@given(st.floats(0, 1e6))
def test_a_duration_is_written_as_the_schema_wants_it(seconds: float) -> None:
    text = format_duration(seconds)
    assert re.search(DURATION_PATTERN, text)
    assert len(text) <= 32
    assert parse_duration(text) == pytest.approx(seconds, rel=0.006, abs=1e-12)
