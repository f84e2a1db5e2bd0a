"""Sizes as expressions behave as the numbers they stand for."""

from hypothesis import given
from hypothesis import strategies as st

from edgemodel_server.model.rows.sizes import AnySize, N, Size, depends_on_batch, divide, equal

HEADS, TOKENS = Size.symbol("heads", least=1), Size.symbol("tokens", least=1)
NUMBERS = {"n": 3, "heads": 5, "tokens": 7}


def value(size: AnySize) -> int:
    if isinstance(size, int):
        return size
    total = 0
    for monomial, factor in size.terms:
        for symbol in monomial:
            factor *= NUMBERS[symbol.name]
        total += factor
    return total


sizes: st.SearchStrategy[AnySize] = st.recursive(
    st.integers(-3, 6) | st.sampled_from([N, HEADS, TOKENS]),
    lambda inner: st.tuples(inner, inner, st.sampled_from("+-*")).map(
        lambda item: item[0] + item[1] if item[2] == "+" else item[0] - item[1] if item[2] == "-" else item[0] * item[1]
    ),
    max_leaves=6,
)


@given(sizes, sizes)
def test_they_are_computed_with_as_numbers_are(one: AnySize, other: AnySize) -> None:
    assert value(one + other) == value(one) + value(other)
    assert value(one - other) == value(one) - value(other)
    assert value(one * other) == value(one) * value(other)


@given(sizes, sizes)
def test_a_product_divided_by_a_factor_is_the_other(one: AnySize, other: AnySize) -> None:
    if other != 0:
        assert divide(one * other, other) == one


@given(sizes, sizes)
def test_a_quotient_is_exact_or_there_is_none(one: AnySize, other: AnySize) -> None:
    quotient = divide(one, other)
    if quotient is not None:
        assert quotient * other == one


@given(sizes, sizes)
def test_what_is_called_equal_or_not_is_so(one: AnySize, other: AnySize) -> None:
    same = equal(one, other)
    if same is not None:
        assert same is (value(one) == value(other))


def test_what_depends_on_the_batch_is_known_to() -> None:
    assert depends_on_batch(N * TOKENS)
    assert not depends_on_batch(HEADS * TOKENS)
    assert divide(N * TOKENS * 4, N) == TOKENS * 4
    assert divide(N * TOKENS, 4) is None
    assert equal(N, 0) is False
    assert equal(N, 1) is None
