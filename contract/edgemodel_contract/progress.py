"""Progress of a compression Job: JSON lines on its standard output, read by the operator from the pod's log."""

from edgemodel_contract.base import Struct
from edgemodel_contract.encoding import decode


class Progress(Struct, frozen=True, kw_only=True):
    """One step. ``fraction`` is the estimated share of the whole work done, from 0 to 1."""

    step: str
    """CamelCase, one of a few: Fetching, Loading, Measuring, Compressing, Evaluating, Pushing."""
    message: str
    fraction: float
    remaining: float | None = None
    """Estimated seconds to the end; absent while there is too little to judge by."""


def last_progress(log: str) -> Progress | None:
    """The last line of ``log`` that is a Progress. Other lines, and a line cut short, are passed over."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                return decode(line, Progress)
            except ValueError:
                continue
    return None
