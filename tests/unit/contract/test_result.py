"""The Result fits a termination message whatever is in it, and reads back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.result import (
    TERMINATION_MESSAGE_LIMIT,
    Candidate,
    Failure,
    Measurement,
    OutputQuality,
    Result,
    Success,
    decode_result,
    encode_result,
)

MEASURED = Measurement(
    size=11_800_000,
    layer_size=10_900_000,
    latency_p50=0.0114,
    latency_p95=0.0121,
    accuracy=0.987654,
    metric="Top1",
    samples=1541,
    sparsity=0.500001,
)


def success(others: int, reason: str = "larger than static-int8") -> Success:
    return Success(
        task="a" * 64,
        image="registry.example.com:5000/models/digits@sha256:" + "b" * 64,
        source_digest="sha256:" + "c" * 64,
        model_digest="sha256:" + "d" * 64,
        original=MEASURED,
        chosen=Candidate(method="static-int8", measured=MEASURED),
        others=tuple(Candidate(method=f"m{n}", measured=MEASURED, rejected=reason) for n in range(others)),
        cpu="A CPU with a long name @ 2.50GHz",
    )


def test_a_usual_result_keeps_all_runners_up() -> None:
    result = success(4)
    assert decode_result(encode_result(result).decode()) == result


@given(st.integers(0, 60), st.text(max_size=300))
def test_a_success_always_fits_and_loses_only_the_last_runners_up(others: int, reason: str) -> None:
    result = success(others, reason)
    data = encode_result(result)
    assert len(data) <= TERMINATION_MESSAGE_LIMIT
    read = decode_result(data.decode())
    assert isinstance(read, Success)
    assert read.others == result.others[: len(read.others)]
    assert (read.image, read.chosen) == (result.image, result.chosen)


@given(st.integers(0, 60), st.text(max_size=300))
def test_of_many_outputs_those_that_lost_most_are_kept(count: int, words: str) -> None:
    outputs = tuple(
        OutputQuality(output=f"y{n}", metric="Values", value=1 - n / 100, low=0.1, high=1, lost=n / 100, words=words)
        for n in range(count)
    )
    chosen = Candidate(method="static-int8", measured=msgspec.structs.replace(MEASURED, outputs=outputs))
    data = encode_result(msgspec.structs.replace(success(2), chosen=chosen))
    assert len(data) <= TERMINATION_MESSAGE_LIMIT
    read = decode_result(data.decode())
    assert isinstance(read, Success)
    kept = {item.output for item in read.chosen.measured.outputs}
    assert kept == {f"y{n}" for n in range(count - len(kept), count)}


@given(st.text(max_size=20_000))
def test_a_failure_always_fits_and_keeps_the_beginning_of_its_sentence(message: str) -> None:
    closest = Candidate(method="static-int8", measured=MEASURED, rejected="size 12 MB > 8 MB")
    failure = Failure(task="a" * 64, reason="InternalError", message=message, closest=closest, original=MEASURED)
    data = encode_result(failure)
    assert len(data) <= TERMINATION_MESSAGE_LIMIT
    read = decode_result(data.decode())
    assert isinstance(read, Failure)
    assert read.reason == "InternalError"
    assert message.startswith(read.message.rstrip("…")[:90]) or read.message == message


@pytest.mark.parametrize("text", ["", "{", "OOMKilled", "[]", '{"outcome":"Other"}', '{"outcome":"Failed","task":"a"}'])
def test_what_is_no_result_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid result"):
        decode_result(text)


def test_outcomes_are_told_apart_by_name() -> None:
    results: list[Result] = [success(0), Failure(task="a", reason="InvalidModel", message="No.")]
    assert [b'"outcome":"Succeeded"' in encode_result(result) for result in results] == [True, False]
