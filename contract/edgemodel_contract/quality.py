"""How good a model is: the metrics, which way each is better, what counts as lost, and how people read it."""

from typing import Literal

Metric = Literal["top1", "top5", "agreement", "cosine", "perplexity", "mse"]
"""``top1``: share of right labels. ``top5``: share of samples whose label is among the five best scores. ``agreement``:
share of answers equal to the original's. ``cosine``: mean cosine of the outputs to the original's. ``perplexity``: e to
the mean negative log-likelihood of the next token. ``mse``: mean squared error against the targets."""

ERRORS: frozenset[str] = frozenset({"perplexity", "mse"})
"""Metrics of which less is better."""

SHARES: frozenset[str] = frozenset({"top1", "top5", "agreement"})
"""Metrics that are shares of samples."""

MEANING: dict[str, str] = {
    "top1": "share of correct labels",
    "top5": "share of labels among the five best scores",
    "agreement": "share of answers equal to the original's",
    "cosine": "mean cosine to the original's outputs",
    "perplexity": "perplexity of the next token, less is better",
    "mse": "mean squared error, less is better",
}


def lost(metric: str | None, before: float, after: float) -> float:
    """What was lost from ``before`` to ``after``, as a fraction; negative where something was won.

    For shares and cosines the difference, so that 0.01 is one percentage point; for errors the relative increase, so
    that 0.01 is one percent more of them. From no error at all, any is all of it.
    """
    if metric not in ERRORS:
        return before - after
    if before <= 0:
        return 0.0 if after <= 0 else 1.0
    return (after - before) / before


def format_quality(metric: str | None, value: float) -> str:
    """``98.13%``, ``0.9987`` for a cosine, ``12.3`` for an error."""
    if metric in ERRORS:
        return f"{value:.4g}"
    return f"{value:.4f}" if metric == "cosine" else f"{100 * value:.2f}%"
