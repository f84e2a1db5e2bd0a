"""Files that hold samples, a module per kind. Each gives arrays by name, samples first, and bounds what it reads."""

from edgemodel_compressor.errors import TaskError

LABELS = "y"
HELD_OUT = "held_out"
"""True for the samples that the model was not trained on: only these judge."""
SINGLE = "x"
"""The array that belongs to a single input, whatever its name."""


def invalid(what: str) -> TaskError:
    """The error of a dataset that ``what`` is wrong with."""
    return TaskError("InvalidDataset", f"The dataset does not fit: {what}.")


def too_large(size: int, limit: int) -> TaskError:
    """The error of a dataset that takes ``size`` bytes in memory."""
    return TaskError(
        "SourceTooLarge",
        f"The dataset takes {size} bytes unpacked, more than the {limit} allowed; give fewer samples.",
    )
