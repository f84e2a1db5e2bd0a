"""Which requests may share a run, and into which parts a large one is cut: where rows are independent."""

import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgemodel_server.model.rows.proof import Proof
from edgemodel_server.model.warm_up import PART_SECONDS, Profile
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.batching import split
from edgemodel_server.scheduling.estimates import RunTimes

logger = logging.getLogger(__name__)

SPLIT_SECONDS = 0.002
"""A request shorter than this is not split over the workers: it would not be noticed."""
SHARED_SECONDS = 0.01
"""Nor is one shorter than this shared with other servers, which costs some milliseconds."""


@dataclass(frozen=True)
class Batching:
    """``size``: the most rows of several requests in one batch, 1 for never; ``delay``: seconds to wait for them."""

    size: int
    delay: float


class Sharing:
    """What ``profile`` permits of what ``batching`` asks for, while no run shows that it was wrong."""

    def __init__(self, batching: Batching, profile: Profile, workers: int) -> None:
        """``workers`` is how many inferences run at once."""
        self._batching = batching
        self._profile = profile
        self._workers = workers

    @property
    def proof(self) -> Proof:
        """Whether rows are independent, and why not."""
        return self._profile.proof

    @property
    def batch_size(self) -> int:
        """The most rows of several requests that are computed together; 1: each request on its own."""
        return min(self._batching.size, self._profile.rows) if self.proof.holds else 1

    @property
    def off_because(self) -> str | None:
        """Why requests never share a run; None: they do."""
        if self._batching.size == 1:
            return "maxBatchSize (EDGEMODEL_MAX_BATCH_SIZE) is 1"
        if not self.proof.holds:
            return f"rows of a batch may influence each other: {self.proof.reason}"
        if self._profile.rows == 1:
            return "in warm-up two rows together took as long as one after the other"
        return None

    def rows(self, inputs: Mapping[str, Array]) -> int | None:
        """The rows of a request that may share a run with others, and be cut; None for any other."""
        return self._profile.proof.rows(inputs)

    def kind(self, inputs: Mapping[str, Array], outputs: Sequence[str], rows: int | None) -> Hashable:
        """What requests that share a run have in common; None: this one shares none."""
        if rows is None or rows >= self.batch_size:
            return None
        return tuple(outputs), *((name, array.shape[1:]) for name, array in sorted(inputs.items()))

    def parts(self, rows: int | None, times: RunTimes) -> list[slice]:
        """The rows of each part of a request: one for each worker, and none larger than where larger is slower."""
        if rows is None or rows <= 1:
            return [slice(0, rows or 1)]
        return split(rows, self._largest(rows, times), 1 if times.of(rows) < SPLIT_SECONDS else self._workers)

    def shares(self, rows: int | None, times: RunTimes, most: int) -> list[slice]:
        """The rows of each of up to ``most`` servers that share a request; none where that would not pay."""
        if rows is None:
            return []
        count = min(most, rows // self._profile.rows)
        if count < 2 or times.of(rows) < SHARED_SECONDS * self._workers:
            return []
        return split(rows, rows, count)

    def refute(self, fault: str) -> None:
        """A run showed that rows are not independent, whatever the proof says: from now on none share a run."""
        if self.proof.holds:
            logger.error("requests no longer share runs of the model, which its graph seemed to permit: %s", fault)
            self._profile = replace(self._profile, proof=replace(self.proof, reason=fault))

    def _largest(self, rows: int, times: RunTimes) -> int:
        """The rows of a part: no fewer than what is worth the trouble."""
        part = self._profile.part
        if part is None:
            return rows
        each = times.of(part) / part
        return max(part, math.ceil(PART_SECONDS / each)) if each else rows


def fault_of(arrays: Sequence[Array], rows: int) -> str | None:
    """What is wrong with outputs for a batch of ``rows`` rows; None where each has as many."""
    for array in arrays:
        if array.shape[:1] != (rows,):
            return f"an output for {rows} rows had the shape {list(array.shape)}"
    return None
