"""Detections: boxes with a score and a class, found again where the original found them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity, floats

OVERLAP = 0.5
"""Intersection over union from which on two boxes are one, as in PASCAL VOC and COCO's AP50."""
SMALL_MOVE = 0.05
"""A score that moves by less than this tells the same."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """Of one sample: ``boxes`` (n, 4) from corner to corner, ``scores`` (n,) and ``labels`` (n,)."""

    boxes: Floats
    scores: Floats
    labels: Floats


def detections(original: Sequence[Detections], candidate: Sequence[Detections]) -> Fidelity:
    """What was found by both, over what was found by either, each detection weighed by its score (F1)."""
    found = [_matched(one, other) for one, other in zip(original, candidate, strict=True)]
    kept, total = sum(item[1] for item in found), sum(len(item.scores) for item in original)
    new = sum(item[2] for item in found)
    moved = max((item[3] for item in found), default=0.0)
    return Fidelity(
        np.array([item[0] for item in found]),
        f"of {total} detections in {len(found)} samples, {kept} were found again and {new} are new; the largest score "
        f"moved by {moved:.2g}",
    )


def _matched(original: Detections, candidate: Detections) -> tuple[float, int, int, float]:
    """F1 of one sample; how many were found again, how many are new, and how far the largest score moved."""
    overlaps = _overlaps(original.boxes, candidate.boxes) * (original.labels[:, None] == candidate.labels[None, :])
    free = np.ones(len(candidate.scores), bool)
    credit = known = moved = 0.0
    kept = 0
    for index in np.argsort(-original.scores, kind="stable"):
        options = overlaps[index] * free
        if not len(options) or options.max() < OVERLAP:
            continue
        other = int(options.argmax())
        free[other] = False
        move = abs(float(candidate.scores[other] - original.scores[index]))
        kept, moved = kept + 1, max(moved, move)
        known += float(original.scores[index])
        credit += float(original.scores[index]) * max(1.0 - max(move - SMALL_MOVE, 0.0), 0.0)
    total = float(original.scores.sum()) + known + float(candidate.scores[free].sum())
    return (2 * credit / total if total > 0 else 1.0), kept, int(free.sum()), moved


def _overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union of each of ``first`` (n, 4) with each of ``second`` (m, 4): (n, m)."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1) for boxes in (first, second)]
    either = areas[0][:, None] + areas[1][None, :] - common
    shares: Floats = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    return shares


def gather(boxes: Answers, others: Mapping[str, Answers]) -> list[Detections] | None:
    """Detections of outputs that belong together: ``boxes`` (…, n, 4) and of ``others`` a score or scores per box and,
    if there is one, an integer per box as its label; or ``boxes`` (…, n, 6 or more) that hold everything.

    None where scores cannot be found.
    """
    found = []
    for index, array in enumerate(boxes):
        rows = floats(array).reshape(-1, array.shape[-1])
        columns = _columns(boxes) if rows.shape[1] > 4 else None
        if columns is not None:
            corner, score, label = columns
            found.append(Detections(_corners(rows[:, corner : corner + 4]), rows[:, score], rows[:, label]))
            continue
        sides = {name: answers[index] for name, answers in others.items()}
        scores, labels = _score_of(sides, len(rows)), _label_of(sides, len(rows))
        if rows.shape[1] != 4 or scores is None:
            return None
        best = scores.argmax(axis=1) if scores.shape[1] > 1 else np.zeros(len(rows), np.int64)
        found.append(
            Detections(
                _corners(rows),
                scores[np.arange(len(rows)), best] if len(rows) else np.zeros(0),
                labels if labels is not None else best.astype(np.float64),
            )
        )
    return found


def _score_of(sides: Mapping[str, NDArray[np.generic]], count: int) -> Floats | None:
    for array in sides.values():
        if array.dtype.kind == "f" and (array.size == count or (count and array.shape[-2:-1] == (count,))):
            return floats(array).reshape(count, -1) if count else np.zeros((0, 1))
    return None


def _label_of(sides: Mapping[str, NDArray[np.generic]], count: int) -> Floats | None:
    for array in sides.values():
        if array.dtype.kind in "iu" and array.size == count:
            return floats(array).ravel()
    return None


def _columns(answers: Answers) -> tuple[int, int, int] | None:
    """Where corner, score and label are in rows of six or more: scores lie between 0 and 1, labels are whole."""
    rows = np.concatenate([floats(array).reshape(-1, array.shape[-1]) for array in answers])
    if not len(rows) or rows.shape[1] < 6:
        return (0, 4, 5) if rows.shape[1] >= 6 else None
    corner = 1 if rows.shape[1] >= 7 and bool((rows[:, 0] == np.rint(rows[:, 0])).all()) else 0
    one, two = rows[:, corner + 4], rows[:, corner + 5]
    swapped = bool((one == np.rint(one)).all()) and not bool((two == np.rint(two)).all())
    return (corner, corner + 5, corner + 4) if swapped else (corner, corner + 4, corner + 5)


def _corners(boxes: Floats) -> Floats:
    """Boxes of centre and size become boxes of corners: those whose second corner is not beyond the first."""
    if len(boxes) and bool((boxes[:, 2:] < boxes[:, :2]).any()):
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return boxes
