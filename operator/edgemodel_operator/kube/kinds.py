"""The kinds of object that the operator works with: where the API has them, who is watched, and what may be done.

A new kind of child is one row here, its builder in ``manifests/`` and its place in ``plan/children.py``. The watches,
the cache and the paths follow from the row, and a test holds the operator's ClusterRole against ``rules``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgemodel_operator.api import GROUP, KIND, PLURAL, VERSION

READ = ("get", "list", "watch")
WRITE = ("create", "patch", "delete")


@dataclass(frozen=True)
class Kind:
    """One kind. ``verbs`` are what the operator does with it, ``subresources`` what it does with parts of it."""

    name: str
    group: str
    version: str
    plural: str
    verbs: tuple[str, ...]
    subresources: tuple[tuple[str, tuple[str, ...]], ...] = ()
    watched: bool = True
    is_child: bool = False
    """The operator makes it, with its labels and an owner reference."""
    is_selected: bool = True
    """Only objects with the operator's label concern it."""

    @property
    def root(self) -> str:
        """Where the API serves the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


def _child(
    name: str, group: str, plural: str, subresources: tuple[tuple[str, tuple[str, ...]], ...] = (), version: str = "v1"
) -> Kind:
    return Kind(name, group, version, plural, READ + WRITE, subresources, is_child=True)


_ALL = (
    Kind(KIND, GROUP, VERSION, PLURAL, READ, (("status", ("patch",)),), is_selected=False),
    Kind("Node", "", "v1", "nodes", READ, is_selected=False),
    Kind("Pod", "", "v1", "pods", READ, (("log", ("get",)),)),
    _child("ConfigMap", "", "configmaps"),
    _child("Job", "batch", "jobs"),
    _child("Deployment", "apps", "deployments"),
    _child("Service", "", "services"),
    _child("NetworkPolicy", "networking.k8s.io", "networkpolicies"),
    Kind("Event", "events.k8s.io", "v1", "events", ("get", "list", "create", "patch"), watched=False),
)
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases", ("get", "create", "update"), watched=False)
"""Of the operator's own namespace only, so a Role allows it."""
KINDS = {kind.name: kind for kind in (*_ALL, LEASE)}
WATCHED = tuple(kind for kind in _ALL if kind.watched)
CHILD_KINDS = tuple(kind.name for kind in _ALL if kind.is_child)


def rules(kinds: Iterable[Kind] = _ALL) -> set[tuple[str, str, tuple[str, ...]]]:
    """What the operator's ClusterRole has to allow: (group, resource, verbs)."""
    found = set()
    for kind in kinds:
        found.add((kind.group, kind.plural, tuple(sorted(kind.verbs))))
        for name, verbs in kind.subresources:
            found.add((kind.group, f"{kind.plural}/{name}", tuple(sorted(verbs))))
    return found
