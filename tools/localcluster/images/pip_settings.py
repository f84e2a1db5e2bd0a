"""This machine's pip configuration, made usable inside an image build without a trace of it in the image.

Where packages come from (an index, a folder of wheels, a proxy, a private CA) is the machine's business, not the
Dockerfile's. Folders are mounted into the build at places of their own, and the configuration that is mounted
with them names those places.
"""

from __future__ import annotations

import ast
import re
import sys
from configparser import RawConfigParser
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tools.localcluster.system.shell import run

# Options that say where packages come from; all others (targets, caches, logs) are about this machine alone.
_KEPT = frozenset(
    {
        "cert",
        "client-cert",
        "default-timeout",
        "extra-index-url",
        "find-links",
        "index-url",
        "no-index",
        "prefer-binary",
        "proxy",
        "retries",
        "timeout",
        "trusted-host",
    }
)
_INDEXES = frozenset({"index-url", "extra-index-url"})
_FILES = frozenset({"cert", "client-cert"})


@dataclass(frozen=True)
class PipSettings:
    """A `pip.conf` for use inside the build, and the host's paths that it needs: place inside -> path outside."""

    text: str
    mounts: dict[str, Path]


def read() -> str:
    """`pip config list` of the Python that runs this: files and PIP_* variables together."""
    return run(sys.executable, "-m", "pip", "config", "list").stdout


def inside_build(listing: str, root: str) -> PipSettings:
    """Turn the output of `pip config list` into settings for a build.

    Args:
        listing: lines such as `global.find-links='/wheels'` or `:env:.index-url='https://…'`.
        root: folder inside the build below which the host's folders and files are mounted.
    """
    values: dict[tuple[str, str], str] = {}
    # Environment variables come first in the listing, and win over files.
    lines = sorted(listing.splitlines(), key=lambda line: line.startswith(":env:"))
    for line in lines:
        match = re.fullmatch(r"(:env:|[\w-]+)\.([\w-]+)=(.*)", line)
        if match and match.group(2) in _KEPT:
            section = match.group(1).replace(":env:", "global")
            values[section, match.group(2)] = str(ast.literal_eval(match.group(3)))

    mounts: dict[str, Path] = {}
    parser = RawConfigParser()
    for (section, option), value in values.items():
        if not parser.has_section(section):
            parser.add_section(section)
        words = [_relocated(option, word, root, mounts) for word in value.split()]
        parser.set(section, option, "\n".join(words))
    out = StringIO()
    parser.write(out)
    return PipSettings(out.getvalue(), mounts)


def _relocated(option: str, word: str, root: str, mounts: dict[str, Path]) -> str:
    """`word` as it reads inside the build; what it names on this machine is added to `mounts`."""
    scheme = urlsplit(word).scheme
    if option in _FILES:
        return _mounted(Path(word), root, mounts)
    if scheme == "file":
        path = Path(unquote(urlsplit(word).path))
        if option in _INDEXES:
            # An index links to its files by relative paths, most often into a folder beside its own.
            return f"file://{_mounted(path.parent, root, mounts)}/{path.name}"
        return f"file://{_mounted(path, root, mounts)}"
    if option == "find-links" and not scheme:
        return _mounted(Path(word).expanduser(), root, mounts)
    return word


def _mounted(path: Path, root: str, mounts: dict[str, Path]) -> str:
    if not path.exists():
        return str(path)
    for inside, outside in mounts.items():
        if outside == path:
            return inside
    inside = f"{root}/{len(mounts)}"
    mounts[inside] = path
    return inside
