"""Files that are written from code: written, or held against what the code says."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def run(module: str, summary: str, files: Mapping[str, Callable[[], str]], remedy: str) -> int:
    """The command line of ``python -m module folder [--check]``: write ``files``, by name in that folder, each from the
    text that its function gives; or with ``--check`` write nothing, and answer 1 where one differs.

    ``remedy`` is the command that writes them.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=summary)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 if a file differs; write nothing")
    arguments = parser.parse_args()
    stale = []
    for name, text in files.items():
        file: Path = arguments.folder / name
        if not arguments.check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text())
        elif not file.exists() or file.read_text() != text():
            stale.append(str(file))
    if stale:
        print(f"{', '.join(stale)}: out of date; run `{remedy}`", file=sys.stderr)
    return 1 if stale else 0
