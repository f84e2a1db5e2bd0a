"""Programs that nobody here made, installed from Debian's packages where they are missing."""

import shutil
from pathlib import Path

from tools.localcluster.programs import packages
from tools.localcluster.system.progress import Progress

DEBIAN_PACKAGES = {
    "nginx": "nginx-light",
    "curl": "curl",
    "node": "nodejs",
    "ab": "apache2-utils",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
}


def program(name: str, folder: Path) -> str:
    """The path of the program ``name``. ``folder``: for apt's log.

    Raises:
        ClusterError: it is missing and cannot be installed.
        FileNotFoundError: it is missing though its package is installed.
    """
    if shutil.which(name) is None:
        packages.install([DEBIAN_PACKAGES[name]], Progress(), folder / "apt.log")
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"no {name} after installing {DEBIAN_PACKAGES[name]}")
    return path
