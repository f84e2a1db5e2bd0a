"""What is still to come of a body whose length is known: it goes from the socket to where it is wanted."""

import asyncio


class BodySink:
    """The rest of a body, of which ``left`` bytes are not read yet."""

    def __init__(self, left: int) -> None:
        """A rest that nobody has asked for yet."""
        self.left = left
        self._is_placed = False
        """Somebody has asked for some of it by a place for it."""
        self._memory: memoryview | None = None
        self._filled: asyncio.Future[None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is a place for what comes next; the spare one, as long as nobody has named another."""
        return self._memory is not None or not self._is_placed

    def place(self, spare: memoryview) -> memoryview:
        """Where to read the next bytes; a part of ``spare`` where nobody has named a place."""
        return spare[: self.left] if self._memory is None else self._memory

    def updated(self, count: int) -> bool:
        """``count`` bytes are in the place last given; whether it was one that somebody had named."""
        self.left -= count
        if self._memory is None:
            return False
        # Full, it must not be read into again: what follows stays with the client until there is a place for it.
        self._memory = self._memory[count:] or None
        if self._memory is None:
            self.release()
        return True

    def fill(self, memory: memoryview) -> "asyncio.Future[None]":
        """Name the next place; done when it is full, or when there is no more to come."""
        self._memory = memory
        self._is_placed = True
        self._filled = asyncio.get_running_loop().create_future()
        return self._filled

    def forget(self) -> None:
        """Nobody waits for the place to be filled any more."""
        self._memory = self._filled = None

    def release(self) -> None:
        """Wake whoever waits for the place to be filled."""
        if self._filled is not None and not self._filled.done():
            self._filled.set_result(None)
