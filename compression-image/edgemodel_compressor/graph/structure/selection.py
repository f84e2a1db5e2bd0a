"""Which units go: the least important, up to the share that is asked for, in steps that hardware likes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.graph.structure.analysis import Analysis
from edgemodel_compressor.graph.structure.importance.expense import weights_per_unit
from edgemodel_compressor.graph.structure.importance.scores import Scores

Scope = Literal["Global", "Layer"]


@dataclass(frozen=True)
class Selection:
    """The units that go, by group name, in ascending order; groups that stay whole are absent."""

    analysis: Analysis
    removed: Mapping[str, tuple[int, ...]]


def select(
    analysis: Analysis,
    scores: Scores,
    sparsity: float,
    *,
    scope: Scope = "Global",
    multiple: int = 8,
    least: int = 1,
) -> Selection:
    """Choose what goes: about ``sparsity`` of all units, weighted by the weights that go with each.

    "Global" ranks the units of all groups together and lets them go from the lowest score on, until the weights that
    went are as near to ``sparsity`` of those of all units as rounding allows. "Layer" takes ``sparsity`` of the units
    of every group. Where two groups meet in one matrix (the rows of the one, the columns of the other), a share of s of
    both leaves (1 - s)² of it: half of all units is about three quarters of the weights.

    What stays of a group is rounded to the nearest multiple of ``multiple``, at least one, in groups that have at least
    twice as many units; smaller ones (attention heads, say) are left unrounded. ``least`` units of every group stay in
    any case. The same arguments give the same selection: of equal scores the first units go.

    Raises:
        ValueError: ``sparsity`` is not from 0 to below 1, or ``multiple`` or ``least`` not at least 1.
    """
    if not 0 <= sparsity < 1 or multiple < 1 or least < 1:
        raise ValueError(
            f"sparsity is {sparsity}, multiple {multiple} and least {least}; they must be from 0 to below 1, and at "
            "least 1."
        )
    counts = (
        _global(analysis, scores, sparsity, multiple, least)
        if scope == "Global"
        else [_rounded(group.units, round(sparsity * group.units), multiple, least) for group in analysis.groups]
    )
    removed = {}
    for group, count in zip(analysis.groups, counts, strict=True):
        if count:
            order = np.argsort(scores[group.name], kind="stable")
            removed[group.name] = tuple(sorted(order[:count].tolist()))
    return Selection(analysis, removed)


def channels_left(selection: Selection) -> dict[str, NDArray[np.int64]]:
    """Of every tensor that loses some, the positions along its second dimension that stay, by the tensor's name."""
    analysis = selection.analysis
    gone = np.concatenate(
        [np.zeros(0, np.int64), *(analysis.group(name).roots[list(units)] for name, units in selection.removed.items())]
    )
    found = {}
    for name, axes in analysis.axes.items():
        if len(axes) > 1:
            stays = ~np.isin(axes[1], gone)
            if not stays.all():
                found[name] = np.flatnonzero(stays)
    return found


def _rounded(units: int, gone: int, multiple: int, least: int) -> int:
    """How many of ``units`` go when ``gone`` would without rounding."""
    stay = units - gone
    if units >= 2 * multiple:
        stay = max(multiple, (stay + multiple // 2) // multiple * multiple)
    return units - min(units, max(stay, least))


def _global(analysis: Analysis, scores: Scores, sparsity: float, multiple: int, least: int) -> list[int]:
    groups = analysis.groups
    if not groups:
        return []
    owner = np.repeat(np.arange(len(groups)), [group.units for group in groups])
    ranked = owner[np.argsort(np.concatenate([scores[group.name] for group in groups]), kind="stable")]
    sizes = np.array([weights_per_unit(analysis, group) for group in groups], np.int64)
    target = sparsity * float(sizes[owner].sum())

    def take(count: int) -> tuple[list[int], float]:
        """Per group what goes when the first ``count`` of the ranking would, and the distance to the target."""
        taken = np.bincount(ranked[:count], minlength=len(groups)).tolist()
        counts = [_rounded(group.units, gone, multiple, least) for group, gone in zip(groups, taken, strict=True)]
        return counts, float(sizes @ np.array(counts)) - target

    # The more of the ranking goes, the more goes after rounding: halving finds the first count to reach the target.
    low, high = 0, len(ranked)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if take(middle)[1] >= 0 else (middle + 1, high)
    return min((take(max(0, low - 1)), take(low)), key=lambda taken: abs(taken[1]))[0]
