"""What may be taken of the server's memory: the bounds are another's, here they are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Memory(Protocol):
    """What a request may hold of the server's memory."""

    def hold(self, size: int) -> None:
        """Take ``size`` bytes, before they are there. Raises RequestError if there are none for this request."""

    def release(self, size: int) -> None:
        """Give back so many."""


@contextmanager
def charged(memory: Memory, size: int) -> Iterator[None]:
    """While ``size`` bytes are there.

    Raises:
        RequestError: as ``Memory.hold``.
    """
    memory.hold(size)
    try:
        yield
    finally:
        memory.release(size)
