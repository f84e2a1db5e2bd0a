"""What the C library's allocator keeps: memory that is free, between pieces that are not, stays with the process.

gRPC takes small pieces for everybody at once, so what one client's flood took is hardly ever free at the end of the
heap, where the allocator gives it back by itself.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import AsyncIterator

INTERVAL = 2.0
"""Seconds."""
MOST_FREE = 32 * 1024 * 1024
"""Bytes that may stay for what comes next: to take new pages costs more than to use old ones."""


class _Info(ctypes.Structure):
    _fields_ = [(f"field{number}", ctypes.c_size_t) for number in range(10)]


_FREE = "field8"
"""In glibc's struct mallinfo2: ``fordblks``, the bytes that are free in all arenas, given back or not."""


@contextlib.asynccontextmanager
async def trimming() -> AsyncIterator[None]:
    """Give back what is free, where it becomes much, until the block ends. Nothing where the library is not glibc."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        yield
        return
    library.mallinfo2.restype = _Info

    def trim(kept: int) -> int:
        free: int = getattr(library.mallinfo2(), _FREE)
        if free <= kept + MOST_FREE:
            return min(kept, free)
        library.malloc_trim(0)
        return free

    async def look() -> None:
        # What was given back counts as free until it is used again: only what has become free since is of interest.
        kept = 0
        while True:
            await asyncio.sleep(INTERVAL)
            kept = await asyncio.to_thread(trim, kept)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
