"""On which Kubernetes the api tests run: the oldest that is supported, and the one that KUBEBUILDER_ASSETS names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tools.localcluster.errors import ClusterError
from tools.localcluster.programs import assets, kubernetes_source
from tools.localcluster.programs.assets import Assets
from tools.localcluster.system.progress import Progress

Label = Literal["oldest", "current"]
LABELS: tuple[Label, ...] = ("oldest", "current")


class NoVersionError(Exception):
    """What was asked for is not on this machine; the message says how to get it."""


@dataclass
class Versions:
    """The versions that run, why others do not, and what came of it."""

    chosen: tuple[Label, ...]
    absent: Mapping[Label, str]
    names: dict[Label, str] = field(default_factory=dict)
    """The version that stands for each label, once its control plane has started."""
    outcomes: dict[Label, Counter[str]] = field(default_factory=lambda: {label: Counter() for label in LABELS})

    def summary(self) -> Iterator[tuple[str, bool]]:
        """A line for each version, and whether it is about one that did not run."""
        for label in LABELS:
            if label in self.chosen:
                counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes[label].items()))
                version = f"{self.names[label]} ({label})" if label in self.names else label
                yield f"Kubernetes {version}: {counts or 'no test'}", False
            else:
                yield f"Kubernetes {label}: NOT RUN. {self.absent[label]}", True


def choose(asked: str, environment: Mapping[str, str], oldest_problem: str | None) -> Versions:
    """What `--kubernetes` asks for, of what is on this machine.

    Args:
        asked: a label, or `all`.
        oldest_problem: why the oldest version cannot be had here, or None.

    Raises:
        NoVersionError: nothing of what is asked for is here.
    """
    absent: dict[Label, str] = {}
    if oldest_problem:
        absent["oldest"] = oldest_problem
    if not environment.get(assets.VARIABLE):
        absent["current"] = (
            f"Set {assets.VARIABLE} to a folder with etcd, kube-apiserver and kube-controller-manager of that version."
        )
    if asked != "all" and asked in absent:
        raise NoVersionError(f"--kubernetes {asked}: {absent[asked]}")
    chosen = tuple(label for label in LABELS if label not in absent and asked in ("all", label))
    if not chosen:
        raise NoVersionError("No Kubernetes to test against. " + " ".join(absent.values()))
    not_asked: dict[Label, str] = dict.fromkeys(LABELS, f"--kubernetes {asked} leaves it out.")
    return Versions(chosen, not_asked | absent)


def here(asked: str) -> Versions:
    """`choose` for this machine."""
    try:
        kubernetes_source.require()
    except ClusterError as error:
        return choose(asked, os.environ, str(error))
    return choose(asked, os.environ, None)


def binaries(label: Label) -> Assets:
    """The programs of that version."""
    if label == "oldest":
        return assets.oldest(Progress())
    found = assets.named(Progress())
    assert found is not None, f"{assets.VARIABLE} was set when the tests were collected"
    return found
