"""Copying a stream to a file without taking more than was agreed, in bytes or in time."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from edgemodel_compressor.errors import TaskError


@dataclass(frozen=True)
class Limits:
    """``size`` in bytes; ``deadline`` on the monotonic clock, in seconds."""

    what: str
    """What is fetched, to begin a sentence with: ``The model at https://…``."""
    size: int
    deadline: float

    def check_size(self, size: int) -> None:
        """Raises TaskError, SourceTooLarge, if ``size`` is beyond the limit."""
        if size > self.size:
            raise TaskError(
                "SourceTooLarge", f"{self.what} is larger than the {self.size} bytes allowed; give a smaller file."
            )

    def check_time(self) -> None:
        """Raises TaskError, SourceUnavailable, if the deadline has passed."""
        if time.monotonic() > self.deadline:
            raise TaskError(
                "SourceUnavailable", f"{self.what} did not arrive in the time allowed; check the server's speed."
            )


def save(
    chunks: Iterable[bytes], file: BinaryIO, limits: Limits, advance: Callable[[int], None], size: int = 0
) -> None:
    """Append ``chunks`` to ``file``, which has ``size`` bytes already; ``advance`` is told the bytes so far."""
    for chunk in chunks:
        size += len(chunk)
        limits.check_size(size)
        limits.check_time()
        file.write(chunk)
        advance(size)
