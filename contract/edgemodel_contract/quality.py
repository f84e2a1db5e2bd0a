"""How good a model is: the metrics, which way each is better, what counts as lost, and how people read it."""

from typing import Literal

Fidelity = Literal["Agreement", "Scores", "Values", "Boxes", "Sequence", "Cosine"]
"""How close answers are to the original's, 1 for a copy. ``Agreement``: share of classes that are the same. ``Scores``:
probabilities by their error, their order, and what crosses a half. ``Values``: R² of the worst channel. ``Boxes``: F1
of the original's own detections, weighed by their scores. ``Sequence``: share of symbols that are the same, decoded
where it is CTC. ``Cosine``: mean cosine of vectors, or share of samples with the same nearest neighbour."""

Metric = Literal["Top1", "Top5", "Perplexity", "MSE", "Agreement", "Scores", "Values", "Boxes", "Sequence", "Cosine"]
"""A ``Fidelity``, or against labels: ``Top1``: share of right labels. ``Top5``: share of samples whose label is among
the five best scores. ``Perplexity``: e to the mean negative log-likelihood of the next token. ``MSE``: mean squared
error against the targets."""

ERRORS: frozenset[str] = frozenset({"Perplexity", "MSE"})
"""Metrics of which less is better."""

LABELLED: frozenset[str] = frozenset({"Top1", "Top5", "Perplexity", "MSE"})
"""Metrics that need labels."""

ANSWERS: frozenset[str] = frozenset({"Top1", "Top5", "Agreement"})
"""Metrics that count samples: one answer is the least that can change."""

SHARES: frozenset[str] = frozenset({"Top1", "Top5", "Agreement", "Boxes", "Sequence"})
"""Metrics that are shares, and written as percentages."""

MEANING: dict[str, str] = {
    "Top1": "share of correct labels",
    "Top5": "share of labels among the five best scores",
    "Agreement": "share of classes equal to the original's",
    "Scores": "closeness of probabilities to the original's",
    "Values": "R² against the original's outputs",
    "Boxes": "detections found where the original found them",
    "Sequence": "share of symbols equal to the original's",
    "Cosine": "cosine and nearest neighbours against the original's vectors",
    "Perplexity": "perplexity of the next token, less is better",
    "MSE": "mean squared error, less is better",
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
    return f"{value:.4f}" if metric in ("Cosine", "Scores", "Values") else f"{100 * value:.2f}%"
