"""One line per step with the time it took; while a long step runs, a live line that says how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Off a terminal (CI logs) a live line would be thousands of lines: one every so many seconds is enough.
QUIET_SECONDS = 20.0


def clock(seconds: float) -> str:
    """Seconds as people read them: `0.4 s`, `12 s`, `7:03`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Step:
    """A running step; `update` shows what it is at."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._live = out.isatty()
        self._start = time.monotonic()
        self._shown = self._start
        self.note = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._start

    def update(self, text: str) -> None:
        """Show `text` now on a terminal, at most every 20 s elsewhere."""
        now = time.monotonic()
        if now - self._shown < (0.2 if self._live else QUIET_SECONDS):
            return
        self._shown = now
        line = f"  … {self._name}: {text} · {clock(self.elapsed)}"
        if self._live:
            self._out.write(f"\r\x1b[K{line[:150]}")
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def finish(self, mark: str) -> None:
        """Replace the live line by the step's last word."""
        start = "\r\x1b[K" if self._live else ""
        note = f" ({self.note})" if self.note else ""
        self._out.write(f"{start}  {mark} {self._name}{note} · {clock(self.elapsed)}\n")
        self._out.flush()


class Progress:
    """Prints the steps of one command to `out` (standard error unless told)."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stderr

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time what happens inside; the line ends in ✓, or in ✗ when it raises."""
        step = Step(name, self._out)
        try:
            yield step
        except BaseException:
            step.finish("✗")
            raise
        step.finish("✓")
