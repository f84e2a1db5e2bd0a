"""Which sites there are, and which of them can be reached."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgemodel_operator.api import EDGE_NODE_LABEL, Placement
from edgemodel_operator.api.names import DEFAULT_SITE
from edgemodel_operator.observed import Node


@dataclass(frozen=True)
class Site:
    """A place with nodes that serve."""

    name: str
    connected: bool
    """At least one of its nodes reports to the control plane."""


def site_of(placement: Placement, node: Node) -> str | None:
    """The site that a node belongs to; None if it does not match."""
    if not all(node.labels.get(key) == value for key, value in placement.node_selector.items()):
        return None
    return node.labels.get(placement.site_label) or DEFAULT_SITE


def find_sites(placement: Placement, nodes: Iterable[Node]) -> tuple[Site, ...]:
    """Sites with a matching node: in the order of ``placement.sites`` where given, else by name."""
    found: dict[str, Site] = {}
    for node in nodes:
        name = site_of(placement, node)
        if name is None:
            continue
        known = found.get(name)
        found[name] = Site(
            name=name,
            connected=node.ready or (known is not None and known.connected),
        )
    wanted = placement.sites
    if not wanted:
        return tuple(found[name] for name in sorted(found))
    return tuple(found[name] for name in dict.fromkeys(wanted) if name in found)


def missing_sites(placement: Placement, sites: Iterable[Site]) -> tuple[str, ...]:
    """Sites that the spec names and that have no matching node."""
    have = {site.name for site in sites}
    wanted = placement.sites
    return tuple(name for name in dict.fromkeys(wanted) if name not in have)


def off_edge(nodes: Iterable[Node]) -> bool:
    """Whether work that is not for users has a node to go to without the edge label."""
    return any(node.open and EDGE_NODE_LABEL not in node.labels for node in nodes)
