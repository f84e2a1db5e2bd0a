"""The ONNX export against the original: the same inputs, the outputs within TOLERANCE."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.onnxmodel.runtime import Array, Feed, Session, explain

TOLERANCE = 1e-3
"""Of the largest value of an output. Other kernels round differently; a wrong export differs by far more."""


def relative_difference(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """max |a − b| / max |a| over each pair of outputs, and of those the largest; infinite where shapes differ."""
    if len(wanted) != len(got):
        return float("inf")
    largest = 0.0
    for a, b in zip(wanted, got, strict=True):
        if a.shape != b.shape:
            return float("inf")
        if a.dtype.kind != "f":
            largest = max(largest, float(a.size > 0 and not np.array_equal(a, b)))
            continue
        first, second = a.astype(np.float64), b.astype(np.float64)
        if not np.array_equal(np.isfinite(first), np.isfinite(second)):
            return float("inf")
        finite = np.isfinite(first)
        scale = float(np.abs(first[finite]).max(initial=0.0))
        gap = float(np.abs(first[finite] - second[finite]).max(initial=0.0))
        largest = max(largest, gap / scale if scale else gap)
    return largest


def verify(model: Path, original: Callable[[Feed], Sequence[Array]], feeds: Iterable[Feed], threads: int) -> float:
    """The largest relative difference between ``original`` and the ONNX file ``model`` on ``feeds``.

    Raises:
        TaskError: UnsupportedModel where it is above TOLERANCE, or either of the two cannot be run.
    """
    try:
        session = Session(model, threads)
    except Exception as error:  # ONNX Runtime raises a dozen types, all of them about the model
        raise TaskError(
            "UnsupportedModel",
            f"The model's ONNX export does not load in ONNX Runtime: {explain(error)}; export it to ONNX yourself.",
        ) from error
    largest = 0.0
    for feed in feeds:
        try:
            wanted = original(feed)
        except Exception as error:  # torch raises whatever its operators stumble on
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise TaskError(
                "InvalidModel", f"The model cannot run on its inputs ({shapes}): {first_line(error)}."
            ) from error
        try:
            got = session.run(feed)
        except Exception as error:  # as above
            raise TaskError(
                "UnsupportedModel",
                f"The model's ONNX export cannot run on the model's inputs: {explain(error)}; export it to ONNX "
                "yourself.",
            ) from error
        largest = max(largest, relative_difference(wanted, got))
    if largest > TOLERANCE:
        raise TaskError(
            "UnsupportedModel",
            f"The model's ONNX export answers differently than the original, by {largest:.2g} of its largest output "
            f"where {TOLERANCE:g} is allowed; export it to ONNX yourself and check it.",
        )
    return largest
