"""Memory that is free goes back to the system."""

import asyncio
import ctypes
from pathlib import Path

import pytest

from edgemodel_server import allocator

PIECE = 16 * 1024
PIECES = 6000
LIBRARY = ctypes.CDLL(None)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(LIBRARY, "mallinfo2"), reason="the allocator is not that of glibc 2.33 or newer")
async def test_what_is_free_below_what_is_not_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "INTERVAL", 0.02)
    LIBRARY.malloc.restype = ctypes.c_void_p
    pieces = [ctypes.c_void_p(LIBRARY.malloc(PIECE)) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    # The last one keeps all before it in the heap.
    last = pieces.pop()
    for piece in pieces:
        LIBRARY.free(piece)
    before = resident()
    async with allocator.trimming(), asyncio.timeout(60):
        while resident() > before - PIECE * PIECES // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    LIBRARY.free(last)
