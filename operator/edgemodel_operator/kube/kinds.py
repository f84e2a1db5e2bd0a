"""The kinds of object that the operator works with: where the API has them, who is watched, and what may be done.

A new kind of child is one row here, its builder in ``manifests/`` and its place in ``plan/children.py``. The watches,
the cache, the paths and the operator's ClusterRole (``cluster_role``) follow from the row.
"""

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
    older_version: str | None = None
    """What API servers have that do not have ``version`` yet, with the same fields as far as they are written."""

    @property
    def api_version(self) -> str:
        """As objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def root(self, version: str | None = None) -> str:
        """Where the API serves the group in ``version``, or in that of the kind."""
        return f"/apis/{self.group}/{version or self.version}" if self.group else f"/api/{self.version}"


def _child(name: str, group: str, plural: str, older_version: str | None = None) -> Kind:
    return Kind(name, group, "v1", plural, READ + WRITE, is_child=True, older_version=older_version)


_ALL = (
    Kind(KIND, GROUP, VERSION, PLURAL, READ, (("status", ("patch",)),), is_selected=False),
    Kind("Node", "", "v1", "nodes", READ, is_selected=False),
    Kind("Pod", "", "v1", "pods", READ, (("log", ("get",)),)),
    _child("ConfigMap", "", "configmaps"),
    _child("Job", "batch", "jobs"),
    _child("Deployment", "apps", "deployments"),
    _child("Service", "", "services"),
    _child("NetworkPolicy", "networking.k8s.io", "networkpolicies"),
    _child("PodDisruptionBudget", "policy", "poddisruptionbudgets", older_version="v1beta1"),
    Kind("Event", "events.k8s.io", "v1", "events", ("get", "list", "create", "patch"), watched=False),
)
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases", ("get", "create", "update"), watched=False)
"""Of the operator's own namespace only, so a Role allows it."""
KINDS = {kind.name: kind for kind in (*_ALL, LEASE)}
WATCHED = tuple(kind for kind in _ALL if kind.watched)
CHILD_KINDS = tuple(kind.name for kind in _ALL if kind.is_child)


def rules() -> list[tuple[str, str, tuple[str, ...]]]:
    """What the operator's ClusterRole has to allow: (group, resource, verbs)."""
    found = []
    for kind in _ALL:
        found.append((kind.group, kind.plural, kind.verbs))
        found += [(kind.group, f"{kind.plural}/{name}", verbs) for name, verbs in kind.subresources]
    return found
