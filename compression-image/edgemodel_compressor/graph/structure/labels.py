"""Labels: which positions of which dimensions shrink together, and which may not shrink at all.

A union-find (Tarjan, 1975). A label of 0 or more stands for a set that grows by ``unite``; a negative one for a
position that is fixed from the start, with its reason.
"""

import numpy as np
from numpy.typing import NDArray

Axis = NDArray[np.int64]
"""The labels of a dimension, one for each position: shape (size,)."""


class Labels:
    """All labels of one walk through a graph."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._pinned: dict[int, str] = {}
        self._reasons: list[str] = []

    def fresh(self, size: int) -> Axis:
        """``size`` labels of their own."""
        start = len(self._parents)
        self._parents.extend(range(start, start + size))
        return np.arange(start, start + size, dtype=np.int64)

    def fixed(self, size: int, reason: str) -> Axis:
        """``size`` positions that stay; ``reason`` is a sentence."""
        if not self._reasons or self._reasons[-1] != reason:
            self._reasons.append(reason)
        return np.full(size, -len(self._reasons), np.int64)

    def unite(self, first: Axis, second: Axis) -> None:
        """Whatever happens to a position of ``first`` happens to the same position of ``second``."""
        different = first != second
        if not different.any():
            return
        for one, other in np.unique(np.stack([first[different], second[different]], 1), axis=0).tolist():
            if one < 0 or other < 0:
                if max(one, other) >= 0:
                    self._pin(max(one, other), self._reasons[-1 - min(one, other)])
                continue
            keep, drop = sorted((self._root(one), self._root(other)))
            if keep != drop:
                self._parents[drop] = keep
                reason = self._pinned.pop(drop, None)
                if reason is not None:
                    self._pinned.setdefault(keep, reason)

    def pin(self, axis: Axis, reason: str) -> None:
        """The positions of ``axis`` stay; of several reasons the first counts."""
        for label in np.unique(axis[axis >= 0]).tolist():
            self._pin(label, reason)

    def reason(self, label: int) -> str | None:
        """Why the position stays; None where it may go."""
        return self._reasons[-1 - label] if label < 0 else self._pinned.get(self._root(label))

    def roots(self, axis: Axis) -> Axis:
        """``axis`` with one label per set; -1 for every position that stays."""
        distinct, inverse = np.unique(axis, return_inverse=True)
        roots = [-1 if self.reason(label) is not None else self._root(label) for label in distinct.tolist()]
        return np.array(roots, np.int64)[inverse]

    def _pin(self, label: int, reason: str) -> None:
        self._pinned.setdefault(self._root(label), reason)

    def _root(self, label: int) -> int:
        root = label
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[label] != root:
            self._parents[label], label = root, self._parents[label]
        return root
