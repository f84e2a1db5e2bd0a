"""Wilson's interval: textbook values, and what must hold of every interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_compressor.evaluate.confidence import mean_interval, standard_error, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (341, 344, 0.9747, 0.9970)],
)
def test_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_it_holds_the_share_and_narrows_with_samples(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    finer_low, finer_high = wilson(4 * successes, 4 * n)
    assert finer_high - finer_low < high - low


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(successes, n)


def test_the_standard_error_of_a_share_is_the_binomials_and_of_one_value_it_is_none() -> None:
    answers = np.array([1.0] * 390 + [0.0] * 10)
    assert standard_error(answers) == pytest.approx(np.sqrt(0.975 * 0.025 / 399))
    low, high = mean_interval(answers)
    assert (high - low) / 2 == pytest.approx(1.96 * standard_error(answers), rel=1e-4)
    assert standard_error(np.ones(1)) == 0.0
