"""Numbers in an EdgeModel: from how people write them to base units, and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.spec import Compression, CompressionSpec
from edgemodel_contract.written import FORMS, read

AMOUNTS = {
    "duration": st.integers(0, 10**9).map(lambda millionths: millionths / 1e6),
    "size": st.integers(0, 2**40),
    "percent": st.integers(0, 10**6).map(lambda number: number / 1e4),
    "share": st.integers(0, 10**6).map(lambda number: number / 1e6),
    "partialShare": st.integers(0, 10**6 - 1).map(lambda number: number / 1e6),
    "number": st.one_of(
        st.floats(-1e6, 1e6).filter(lambda number: number == 0 or abs(number) > 1e-6),
        st.tuples(st.integers(1, 999), st.integers(1, 999)).map(lambda parts: parts[0] / parts[1]),
    ),
}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_what_is_written_is_read_as_it_was(name: str) -> None:
    form = FORMS[name]

    @given(AMOUNTS[name])
    def holds(amount: float) -> None:
        text = form.write(amount)
        assert form.read(text) == pytest.approx(amount, rel=1e-12, abs=1e-15)
        assert len(text) <= form.max_length

    holds()
    assert form.read(form.example) > 0


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("duration", 1200.0, "20m"),
        ("duration", 0.0, "0s"),
        ("duration", 0.0015, "1500us"),
        ("size", 8 * 2**20, "8Mi"),
        ("share", 0.5, "50%"),
        ("partialShare", 0.125, "12.5%"),
        ("number", 1 / 255, "1/255"),
        ("number", 0.485, "0.485"),
    ],
)
def test_a_number_is_written_as_people_would(name: str, amount: float, text: str) -> None:
    assert FORMS[name].write(amount) == text


def test_a_document_is_read_wherever_its_numbers_are() -> None:
    document = {
        "model": {"uri": "m.onnx", "later": "50%"},
        "compression": {"objectives": {"maxSize": "1Ki"}, "judge": [{"output": "y", "maxDrop": "2%"}], "dataset": None},
        "serving": {"preprocessing": {"std": ["1/2", "0.25"]}},
    }
    assert read(document, CompressionSpec, "spec") == {
        "model": {"uri": "m.onnx", "later": "50%"},
        "compression": {"objectives": {"maxSize": 1024}, "judge": [{"output": "y", "maxDrop": 0.02}], "dataset": None},
        "serving": {"preprocessing": {"std": [0.5, 0.25]}},
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"search": {"timeout": 20}}, "c.search.timeout: 20 is not a text; write it like '20m'"),
        ({"judge": [{}, {"maxDrop": "2"}]}, "c.judge[1].maxDrop: '2' is not a percentage: write it like 1% or 0.5%"),
        ({"pruning": {"depth": True}}, "c.pruning.depth: True is not a text; write it like '25%'"),
    ],
)
def test_a_number_in_another_form_is_named(document: Any, message: str) -> None:
    with pytest.raises(ValueError, match="not a") as caught:
        read(document, Compression, "c")
    assert str(caught.value) == message
