"""The split of a dataset into parts that calibrate, recover (train), judge and confirm. They never share a sample."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

SEED = 20_150_608

MIN_TO_CONFIRM = 10
"""With fewer samples nothing is set aside for a confirmation: it would tell of chance."""

Indices = NDArray[np.int64]


def _none() -> Indices:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Split:
    """Indices of samples, each ascending; together all of them, no one twice."""

    calibration: Indices
    evaluation: Indices
    recovery: Indices = field(default_factory=_none)
    """Empty unless it was asked for."""
    confirmation: Indices = field(default_factory=_none)
    """Of what evaluated; empty unless it was asked for."""

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each part has, by its name."""
        return {
            "calibration": len(self.calibration),
            "recovery": len(self.recovery),
            "evaluation": len(self.evaluation),
            "confirmation": len(self.confirmation),
        }


def split(
    samples: int,
    labels: NDArray[np.int64] | None,
    most: int,
    *,
    recovery: bool = False,
    held_out: NDArray[np.bool_] | None = None,
) -> Split:
    """Half of each class calibrates, at most ``most`` samples in all; everything else evaluates.

    With ``recovery``, half of each class is set aside for training first, and a quarter of each, within ``most``,
    calibrates. A class of three samples has one in each part; one of two has none to calibrate, one of one only
    evaluates. Of two samples in all, none is left for recovery.

    Where some samples are ``held_out``, exactly those evaluate. Of the others, up to half and ``most`` calibrate, and
    the rest is set aside for training, if that is asked for, or not used.

    Deterministic, so that the same dataset always gives the same model and the same figures.

    Raises:
        ValueError: there are fewer than two samples, or ``most`` is less than one.
    """
    if samples < 2 or most < 1:
        raise ValueError(f"cannot split {samples} samples with at most {most} to calibrate")
    order = np.random.default_rng(SEED).permutation(samples)
    classes = np.zeros(samples, np.int64) if labels is None else labels
    if held_out is not None:
        return _split_held_out(np.flatnonzero(~held_out), np.flatnonzero(held_out), classes, most, recovery)
    if recovery:
        return _split_three(order, classes, most)
    # The rank of a sample within its class, as a share of the class: taking the lowest shares first takes
    # from every class in proportion.
    share = np.empty(samples)
    for label in np.unique(classes):
        members = order[classes[order] == label]
        share[members] = np.arange(len(members)) / len(members)
    half = np.flatnonzero(share < 0.5)
    ranked = half[np.lexsort((half, share[half]))]
    # A class of one sample has only a share of 0: leave at least half of all samples to evaluate.
    count = min(most, len(ranked), samples // 2)
    calibration = np.sort(ranked[:count])
    evaluation = np.setdiff1d(np.arange(samples), calibration)
    return Split(calibration, evaluation)


def set_aside(parts: Split, labels: NDArray[np.int64] | None) -> Split:
    """``parts`` with a third of each class that evaluates left for the confirmation of the choice.

    The same, where that would be fewer than MIN_TO_CONFIRM samples.
    """
    order = parts.evaluation
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    confirmation = order[1::3]
    if len(confirmation) < MIN_TO_CONFIRM:
        return parts
    return replace(parts, evaluation=np.setdiff1d(parts.evaluation, confirmation), confirmation=np.sort(confirmation))


def _split_held_out(known: Indices, unseen: Indices, classes: NDArray[np.int64], most: int, recovery: bool) -> Split:
    if len(known) < 2:
        return Split(known, unseen)
    inner = split(len(known), classes[known], most)
    return Split(known[inner.calibration], unseen, known[inner.evaluation] if recovery else _none())


def _split_three(order: Indices, classes: NDArray[np.int64], most: int) -> Split:
    calibration: list[tuple[float, int]] = []
    evaluation: list[int] = []
    recovery: list[int] = []
    for label in np.unique(classes):
        members = [int(index) for index in order[classes[order] == label]]
        quarter = max(1, len(members) // 4)
        evaluation += members[:quarter]
        if len(members) > 2:
            # With its rank as a share of the class: what is over ``most`` is then taken from all in proportion.
            calibration += [(rank / quarter, index) for rank, index in enumerate(members[quarter : 2 * quarter])]
            recovery += members[2 * quarter :]
        else:
            recovery += members[quarter:]
    ranked = [index for _, index in sorted(calibration)]
    evaluation += ranked[most:]
    del ranked[most:]
    # Where every class is tiny, no class gave one to calibrate, and where each has one sample none to recover.
    if not ranked:
        ranked.append((recovery if len(recovery) >= len(evaluation) else evaluation).pop())
    if not recovery and len(evaluation) > 1:
        half = len(evaluation) // 2
        recovery, evaluation = evaluation[:half], evaluation[half:]
    return Split(*(np.array(sorted(part), np.int64) for part in (ranked, evaluation, recovery)))
