"""Symbols one after the other: tokens, characters, classes of pixels, and what CTC is decoded to."""

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from edgemodel_compressor.evaluate.fidelity.fidelity import Answers, Fidelity

BLANK_SHARE = 0.4
"""CTC's blank is the first or the last class, and the answer at so many positions that nothing else is."""
LONGEST = 2048
"""Longer sequences are compared position by position."""

Symbols = NDArray[np.generic]


def sequences(original: Answers, candidate: Answers) -> Fidelity:
    """The share of symbols that stay: by edit distance where CTC is decoded or lengths differ, else by position."""
    before, after = [_symbols(array) for array in original], [_symbols(array) for array in candidate]
    blank = _blank(original, before)
    if blank is not None:
        before, after = [_decode(row, blank) for row in before], [_decode(row, blank) for row in after]
    distances = np.array([_distance(*rows, aligned=blank is None) for rows in zip(before, after, strict=True)], float)
    lengths = np.array([max(len(row), 1) for row in before], float)
    changed, total = int((distances > 0).sum()), sum(len(row) for row in before)
    return Fidelity(
        1.0 - np.minimum(distances / lengths, 1.0),
        f"of {len(before)} sequences, {changed} changed, in {int(distances.sum())} of {total} symbols",
    )


def _symbols(array: Symbols) -> Symbols:
    """The best class at each position; integers as they are."""
    return array.argmax(axis=-1).ravel() if array.dtype.kind == "f" and array.ndim else array.ravel()


def _blank(answers: Answers, rows: list[Symbols]) -> int | None:
    if answers[0].dtype.kind != "f":
        return None
    symbols = np.concatenate(rows)
    if not len(symbols):
        return None
    found, counts = np.unique(symbols, return_counts=True)
    usual = int(found[counts.argmax()])
    return usual if usual in (0, answers[0].shape[-1] - 1) and counts.max() > BLANK_SHARE * len(symbols) else None


def _decode(row: Symbols, blank: int) -> Symbols:
    return np.array([symbol for symbol, _ in groupby(row.tolist()) if symbol != blank], np.int64)


def _distance(before: Symbols, after: Symbols, *, aligned: bool) -> int:
    if len(before) == len(after) and (aligned or len(before) > LONGEST):
        return int((before != after).sum())
    return edit_distance(before[:LONGEST], after[:LONGEST]) + abs(max(len(before), LONGEST) - max(len(after), LONGEST))


def edit_distance(before: Symbols, after: Symbols) -> int:
    """Symbols to insert, delete or replace (Levenshtein, 1965)."""
    steps = np.arange(len(after) + 1)
    row = steps
    for index, symbol in enumerate(before):
        best = np.minimum(row[1:] + 1, row[:-1] + (after != symbol))
        # An insertion costs one more than what stands to its left.
        row = np.minimum.accumulate(np.concatenate([[index + 1], best]) - steps) + steps
    return int(row[-1])
