"""What counts as lost, and how people read it."""

from typing import get_args

import pytest

from edgemodel_contract.quality import ERRORS, MEANING, SHARES, Metric, format_quality, lost


@pytest.mark.parametrize(
    ("metric", "before", "after", "expected"),
    [
        ("Top1", 0.98, 0.97, 0.01),
        ("Top5", 0.99, 0.97, 0.02),
        ("Agreement", 1.0, 0.995, 0.005),
        ("Cosine", 1.0, 0.999, 0.001),
        ("Top1", 0.97, 0.98, -0.01),
        ("Perplexity", 10.0, 10.1, 0.01),
        ("MSE", 0.5, 0.25, -0.5),
        ("MSE", 0.0, 0.0, 0.0),
        ("MSE", 0.0, 0.1, 1.0),
        (None, 0.9, 0.8, 0.1),
    ],
)
def test_a_loss_is_points_of_a_share_and_percent_of_an_error(
    metric: str | None, before: float, after: float, expected: float
) -> None:
    assert lost(metric, before, after) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("Top1", 0.98127, "98.13%"), ("Cosine", 0.99871, "0.9987"), ("Perplexity", 12.3456, "12.35"), ("MSE", 0.5, "0.5")],
)
def test_each_metric_is_written_as_people_write_it(metric: str, value: float, text: str) -> None:
    assert format_quality(metric, value) == text


def test_every_metric_has_a_meaning() -> None:
    assert set(MEANING) == set(get_args(Metric)) >= ERRORS | SHARES
