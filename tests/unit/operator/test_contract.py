"""What crosses the programs' borders: quantities, results that fit their place, and progress in a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.encoding import digest, encode
from edgemodel_contract.progress import Progress, last_progress
from edgemodel_contract.quantity import (
    format_duration,
    format_number,
    parse_cpu,
    parse_duration,
    parse_percent,
    parse_size,
)
from edgemodel_contract.result import (
    TERMINATION_MESSAGE_LIMIT,
    Candidate,
    Success,
    decode_result,
    encode_result,
)
from tests.unit.operator.builders import ORIGINAL, failure, success


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("8Mi", 8 * 2**20), ("1.5G", 1_500_000_000), ("500Ki", 512_000), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("250us", 0.00025)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0)])
def test_percentages(text: str, share: float) -> None:
    assert parse_percent(text) == share


@pytest.mark.parametrize(("text", "cpus"), [("500m", 0.5), ("2", 2.0), ("1.5", 1.5)])
def test_cpus(text: str, cpus: float) -> None:
    assert parse_cpu(text) == cpus


@pytest.mark.parametrize("parse", [parse_size, parse_duration, parse_percent, parse_cpu])
@pytest.mark.parametrize("text", ["", "-1", "ten", "1 0", "10 ms", "1e3Q", "NaN"])
def test_anything_else_is_refused_with_an_example(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match="write it like"):
        parse(text)


@given(st.floats(1e-6, 1e5))
def test_a_duration_that_is_written_can_be_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.006)


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


def test_equal_values_have_one_digest() -> None:
    assert encode({"b": 1, "a": [1, 2]}) == b'{"a":[1,2],"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})


def test_a_result_is_read_as_it_was_written() -> None:
    for result in (success("0" * 64), failure("0" * 64, "InvalidModel", "No.")):
        assert decode_result(encode_result(result).decode()) == result


def test_a_long_result_is_cut_to_its_place_and_keeps_what_matters() -> None:
    many = tuple(Candidate(method=f"candidate-{n}", measured=ORIGINAL, rejected="x" * 80) for n in range(50))
    base = success("0" * 64)
    answer = Success(
        task=base.task,
        image=base.image,
        source_digest=base.source_digest,
        model_digest=base.model_digest,
        original=base.original,
        chosen=base.chosen,
        others=many,
    )
    written = encode_result(answer)
    assert len(written) <= TERMINATION_MESSAGE_LIMIT
    read = decode_result(written.decode())
    assert isinstance(read, Success)
    assert read.chosen == base.chosen
    assert read.others == many[: len(read.others)]
    assert len(read.others) > 5


@given(st.text(min_size=1, max_size=20).map(lambda text: text * 2000))
def test_a_long_failure_is_cut_to_its_place(message: str) -> None:
    assert len(encode_result(failure("0" * 64, "InternalError", message))) <= TERMINATION_MESSAGE_LIMIT


@pytest.mark.parametrize("text", ["", "Killed", "{}", '{"outcome":"Succeeded"}', '{"outcome":"Failed","task":1}'])
def test_what_is_no_result_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid result"):
        decode_result(text)


def test_the_last_whole_line_of_progress_counts() -> None:
    first = Progress(step="Fetching", message="model", fraction=0.1)
    last = Progress(step="Measuring", message="original", fraction=0.2)
    log = "\n".join(
        ["warming up", encode(first).decode(), encode(last).decode(), '{"level": "info"}', '{"step":"Eval', "", "done"]
    )
    assert last_progress(log) == last
    assert last_progress("nothing\n{}\n") is None
    assert last_progress("") is None
