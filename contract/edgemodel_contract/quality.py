"""How good a model is: the metrics, which way each is better, what counts as lost, and how people read it."""

from typing import Literal

Fidelity = Literal["agreement", "scores", "values", "boxes", "sequence", "cosine"]
"""How close answers are to the original's, 1 for a copy. ``agreement``: share of classes that are the same. ``scores``:
probabilities by their error, their order, and what crosses a half. ``values``: R² of the worst channel. ``boxes``: F1
of the original's own detections, weighed by their scores. ``sequence``: share of symbols that are the same, decoded
where it is CTC. ``cosine``: mean cosine of vectors, or share of samples with the same nearest neighbour."""

Metric = Literal["top1", "top5", "perplexity", "mse", "agreement", "scores", "values", "boxes", "sequence", "cosine"]
"""A ``Fidelity``, or against labels: ``top1``: share of right labels. ``top5``: share of samples whose label is among
the five best scores. ``perplexity``: e to the mean negative log-likelihood of the next token. ``mse``: mean squared
error against the targets."""

ERRORS: frozenset[str] = frozenset({"perplexity", "mse"})
"""Metrics of which less is better."""

LABELLED: frozenset[str] = frozenset({"top1", "top5", "perplexity", "mse"})
"""Metrics that need labels."""

ANSWERS: frozenset[str] = frozenset({"top1", "top5", "agreement"})
"""Metrics that count samples: one answer is the least that can change."""

SHARES: frozenset[str] = frozenset({"top1", "top5", "agreement", "boxes", "sequence"})
"""Metrics that are shares, and written as percentages."""

MEANING: dict[str, str] = {
    "top1": "share of correct labels",
    "top5": "share of labels among the five best scores",
    "agreement": "share of classes equal to the original's",
    "scores": "closeness of probabilities to the original's",
    "values": "R² against the original's outputs",
    "boxes": "detections found where the original found them",
    "sequence": "share of symbols equal to the original's",
    "cosine": "cosine and nearest neighbours against the original's vectors",
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
    """``98.13%``, ``0.9987`` for what is no share, ``12.3`` for an error."""
    if metric in ERRORS:
        return f"{value:.4g}"
    return f"{value:.4f}" if metric in ("cosine", "scores", "values") else f"{100 * value:.2f}%"
