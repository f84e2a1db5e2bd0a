"""Judges that know a task and nothing of the product: is a model's answer still the original's?

Each is given the answers of the original and of the other model, a list of outputs per sample, and says how much is
still the same, and how much must be. None of them uses this project's metrics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = Sequence[Sequence[NDArray[Any]]]
"""Of each sample, all outputs."""


@dataclass(frozen=True)
class Judgement:
    """``same`` of what is judged, from 0 to 1, where ``needed`` is; ``what`` is that, in words."""

    what: str
    same: float
    needed: float

    @property
    def kept(self) -> bool:
        """Whether the model still does its task."""
        return self.same >= self.needed


Judge = Callable[[Answers, Answers], Judgement]


def classes(before: Answers, after: Answers) -> Judgement:
    """The first output holds scores of classes, per sample or per position."""
    alike = [(a[0].argmax(-1) == b[0].argmax(-1)).mean() for a, b in zip(before, after, strict=True)]
    return Judgement("same classes", float(np.mean(alike)), 0.96)


def words(before: Answers, after: Answers, blank: int = 0) -> Judgement:
    """CTC: the first output is (1, steps, letters) or (steps, 1, letters)."""
    ratios = [
        SequenceMatcher(None, _read(a[0], blank), _read(b[0], blank), autojunk=False).ratio()
        for a, b in zip(before, after, strict=True)
    ]
    return Judgement("same letters", float(np.mean(ratios)), 0.97)


def _read(scores: NDArray[Any], blank: int) -> list[int]:
    best = scores.reshape(-1, scores.shape[-1]).argmax(-1)
    kept = best[np.append(True, best[1:] != best[:-1])]
    return [int(letter) for letter in kept if letter != blank]


def marks(before: Answers, after: Answers) -> Judgement:
    """The first output holds scores of classes per position, of which class 0 is none: F1 of the others."""
    hits = total = 0
    for a, b in zip(before, after, strict=True):
        one, other = a[0].argmax(-1), b[0].argmax(-1)
        hits += int(((one == other) & (one > 0)).sum())
        total += int((one > 0).sum()) + int((other > 0).sum())
    return Judgement("same marks, F1", 2 * hits / max(total, 1), 0.96)


def regions(before: Answers, after: Answers) -> Judgement:
    """A map of probabilities: intersection over union of what is above 0.3."""
    shares = []
    for a, b in zip(before, after, strict=True):
        one, other = a[0] > 0.3, b[0] > 0.3
        union = int((one | other).sum())
        shares.append(float((one & other).sum()) / union if union else 1.0)
    return Judgement("same text regions, IoU", float(np.mean(shares)), 0.93)


def values(before: Answers, after: Answers) -> Judgement:
    """Numbers: the share of the variance over samples that is still explained, of the worst number."""
    worst = 1.0
    for output in range(len(before[0])):
        truth = np.stack([answer[output].astype(np.float64).ravel() for answer in before])
        found = np.stack([answer[output].astype(np.float64).ravel() for answer in after])
        spread = ((truth - truth.mean(0)) ** 2).sum(0)
        told = spread > 1e-9 * len(truth) * np.maximum(np.abs(truth).max(0), 1e-6) ** 2
        if told.any():
            worst = min(worst, float((1 - ((truth - found) ** 2).sum(0)[told] / spread[told]).min()))
    return Judgement("variance of the worst number explained", worst, 0.97)


def notes(before: Answers, after: Answers) -> Judgement:
    """Activations of notes in each output: F1 of what is above 0.3."""
    hits = found = wanted = 0
    for a, b in zip(before, after, strict=True):
        for one, other in zip(a, b, strict=True):
            hits += int(((one > 0.3) & (other > 0.3)).sum())
            wanted, found = wanted + int((one > 0.3).sum()), found + int((other > 0.3).sum())
    return Judgement("same notes, F1", 2 * hits / max(wanted + found, 1), 0.95)


def pitches(before: Answers, after: Answers) -> Judgement:
    """Pitch and confidence per frame: within half a semitone where the original is sure, and as sure."""
    same, total = 0, 0
    for a, b in zip(before, after, strict=True):
        sure = a[1] > 0.5
        near = np.abs(12 * np.log2(np.maximum(b[0], 1e-6) / np.maximum(a[0], 1e-6))) < 0.5
        same, total = same + int((sure & near & (b[1] > 0.4)).sum()), total + int(sure.sum())
    return Judgement("same pitch where it is sure", same / max(total, 1), 0.97)


def speech(before: Answers, after: Answers) -> Judgement:
    """A probability per frame: the same side of 0.5, and within 0.05 in the mean."""
    one = np.array([answer[0].ravel()[0] for answer in before])
    other = np.array([answer[0].ravel()[0] for answer in after])
    return Judgement("same frames, less the mean error", float(((one > 0.5) == (other > 0.5)).mean()
                     - max(0.0, np.abs(one - other).mean() - 0.05)), 0.97)  # fmt: skip


def neighbours(before: Answers, after: Answers) -> Judgement:
    """Vectors of sentences, the mean over positions: the nearest other sentence stays, and so do the vectors."""
    one, other = (_directions(answers) for answers in (before, after))
    nearest = [(side @ side.T - 2 * np.eye(len(side))).argmax(1) for side in (one, other)]
    cosine = float((one * other).sum(1).mean())
    return Judgement(
        "same nearest sentence, or cosine", min(float((nearest[0] == nearest[1]).mean()) + 0.1, cosine), 0.97
    )


def _directions(answers: Answers) -> NDArray[np.float64]:
    vectors = np.stack([answer[0].astype(np.float64).mean(tuple(range(answer[0].ndim - 1))) for answer in answers])
    # What all sentences share says nothing of one.
    vectors -= vectors.mean(0)
    directions: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions
