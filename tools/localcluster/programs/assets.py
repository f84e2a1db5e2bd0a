"""Which binaries run: those in KUBEBUILDER_ASSETS where it is set, else built once from Debian's source."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.programs import kubernetes_source, packages
from tools.localcluster.system.paths import cache_dir
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import SYSTEM_PATH, run

VARIABLE = "KUBEBUILDER_ASSETS"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE = ("kube-scheduler", "kubelet", "kube-proxy", "pause")


@dataclass(frozen=True)
class Assets:
    """The programs of one Kubernetes version."""

    folder: Path
    etcd: Path
    kubectl: Path
    version: str
    """1.20.2, say."""

    @property
    def minor(self) -> int:
        """The 20 of 1.20.2."""
        return int(self.version.split(".")[1])

    def path(self, name: str) -> Path:
        """The program called `name`, for example `kube-apiserver`."""
        return self.folder / name


def version_in(text: str) -> str:
    """The 1.20.2 of `Kubernetes v1.20.2`, as the servers print with --version."""
    found = re.search(r"v(1\.\d+\.\d+)", text)
    if found is None:
        raise ClusterError(f"`kube-apiserver --version` says {text.strip()!r}, which names no version 1.x.")
    return found.group(1)


def resolve(progress: Progress, nodes: bool = False) -> Assets:
    """The binaries that KUBEBUILDER_ASSETS names, else those of the oldest version, built where they are missing.

    Args:
        nodes: also what nodes need (kubelet, kube-proxy, kube-scheduler, pause).
    """
    return named(progress, nodes) or oldest(progress)


def named(progress: Progress, nodes: bool = False) -> Assets | None:
    """The binaries that KUBEBUILDER_ASSETS names; None where it is not set.

    Raises:
        ClusterError: some are missing.
    """
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        return None
    folder = Path(chosen)
    _require(folder, CONTROL_PLANE + (NODE if nodes else ()))
    return _assets(folder, folder / "etcd", progress)


def oldest(progress: Progress) -> Assets:
    """The oldest version that is supported, built from Debian's source where it is missing."""
    folder = kubernetes_source.build(progress)
    return _assets(folder, _etcd(progress), progress)


def _assets(folder: Path, etcd: Path, progress: Progress) -> Assets:
    version = version_in(run(folder / "kube-apiserver", "--version").stdout)
    return Assets(folder, etcd, _kubectl(folder, progress), version)


def _require(folder: Path, names: Iterable[str]) -> None:
    absent = [name for name in names if not os.access(folder / name, os.X_OK)]
    if absent:
        raise ClusterError(
            f"KUBEBUILDER_ASSETS is {folder}, which lacks {', '.join(absent)}. Put them there,"
            " or unset it to have the binaries built."
        )


def _etcd(progress: Progress) -> Path:
    if _which("etcd") is None:
        packages.install(["etcd-server"], progress, cache_dir() / "packages.log")
    return _found("etcd")


def _kubectl(folder: Path, progress: Progress) -> Path:
    if os.access(folder / "kubectl", os.X_OK):
        return folder / "kubectl"
    if _which("kubectl") is None:
        packages.install(["kubernetes-client"], progress, cache_dir() / "packages.log")
    return _found("kubectl")


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _found(name: str) -> Path:
    path = _which(name)
    if path is None:
        raise ClusterError(f"{name} is not on PATH although its Debian package is installed; reinstall it.")
    return Path(path)
