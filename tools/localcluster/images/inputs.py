"""What an image is made of: the files that its Dockerfile copies, and one key over all their bytes."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tools.localcluster.errors import ClusterError

KEY_LENGTH = 20


def copied_sources(dockerfile: str) -> list[str]:
    """The context paths that `COPY` and `ADD` name, in order; copies out of other stages are not among them."""
    sources = []
    for line in _instructions(dockerfile):
        match = re.match(r"(?i)(?:copy|add)\s+(.*)", line)
        if match is None:
            continue
        rest = match.group(1).strip()
        flags = []
        while flag := re.match(r"(--\S+)\s+", rest):
            flags.append(flag.group(1))
            rest = rest[flag.end() :]
        words = json.loads(rest) if rest.startswith("[") else shlex.split(rest)
        if not any(flag.startswith("--from=") for flag in flags):
            sources += [word for word in words[:-1] if "://" not in word]
    return sources


def content_key(context: Path, dockerfile: str, *also: str) -> str:
    """A key of 20 hex digits that changes with the Dockerfile, any file it copies, or one of `also`.

    Args:
        context: the build context, which the Dockerfile's paths are relative to.
        dockerfile: its path in the context.
        also: other inputs of the build, for instance the key of the base image.

    Raises:
        ClusterError: the Dockerfile, or something that it copies, is not there.
    """
    path = context / dockerfile
    if not path.is_file():
        raise ClusterError(f"There is no {dockerfile} in {context}: the image cannot be built.")
    total = hashlib.sha256()
    for part in (path.read_text(), *also):
        total.update(hashlib.sha256(part.encode()).digest())
    for source in copied_sources(path.read_text()):
        found = False
        for file in _files(context, source):
            found = True
            executable = "x" if file.stat().st_mode & 0o100 else "-"
            name = f"{file.relative_to(context).as_posix()}\0{executable}\0"
            total.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
        if not found:
            raise ClusterError(f"{dockerfile} copies {source}, and there is no such file in {context}.")
    return total.hexdigest()[:KEY_LENGTH]


def _instructions(dockerfile: str) -> Iterator[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    line = ""
    for part in dockerfile.splitlines():
        if part.lstrip().startswith("#"):
            continue
        line += part.rstrip()
        if line.endswith("\\"):
            line = line[:-1] + " "
        else:
            yield line.strip()
            line = ""


def _files(context: Path, source: str) -> Iterator[Path]:
    # Byte code that Python leaves beside its sources is in .dockerignore, and no input.
    roots = sorted(context.glob(source.strip("/"))) if source.strip("./") else [context]
    for root in roots:
        inside = sorted(root.rglob("*")) if root.is_dir() else [root]
        yield from (file for file in inside if file.is_file() and "__pycache__" not in file.parts)
