"""What crosses the programs' borders: quantities, results that fit their place, and progress in a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.encoding import digest, encode
from edgemodel_contract.progress import Progress, last_progress
from edgemodel_contract.result import (
    TERMINATION_MESSAGE_LIMIT,
    Candidate,
    Success,
    decode_result,
    encode_result,
)
from tests.unit.operator.builders import ORIGINAL, failure, success


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
