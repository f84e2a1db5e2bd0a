"""Notices when the files of a folder change, as those of a mounted Secret do."""

import os
from pathlib import Path

INTERVAL = 1.0
"""Seconds between two looks."""

Fingerprint = tuple[tuple[str, int, int, int], ...]


class Watched:
    """A folder that is looked at when asked, but not more often than every INTERVAL seconds."""

    def __init__(self, path: Path) -> None:
        """What is there now is known."""
        self.path = path
        self._known = fingerprint(path)
        self._next = float("-inf")

    def changed(self, now: float) -> bool:
        """Whether it is another than at the last call that said so. ``now`` is in seconds of any clock."""
        if now < self._next:
            return False
        self._next = now + INTERVAL
        found = fingerprint(self.path)
        if found == self._known:
            return False
        self._known = found
        return True

    @property
    def has_moved(self) -> bool:
        """Whether it has changed since the last call of ``changed``: what was read meanwhile may be of two states. The
        next call says so, too."""
        return fingerprint(self.path) != self._known


def fingerprint(folder: Path) -> Fingerprint:
    """Names, inodes, times and sizes of the files, links followed: the kubelet turns a link to a new folder of files.

    Empty where the folder cannot be read.
    """
    found: list[tuple[str, int, int, int]] = []
    try:
        for file in sorted(folder.iterdir()):
            status = os.stat(file)  # noqa: PTH116
            found.append((file.name, status.st_ino, status.st_mtime_ns, status.st_size))
    except OSError:
        return ()
    return tuple(found)
