"""What a local cluster looks like: its nodes, sites and addresses. Pure: no file, no process."""

from __future__ import annotations

import ipaddress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tools.localcluster.errors import ClusterError

Provider = Literal["native", "kind", "existing"]
PROVIDERS: tuple[Provider, ...] = ("native", "kind", "existing")

EDGE_LABEL = "node-role.kubernetes.io/edge"
SITE_LABEL = "topology.kubernetes.io/zone"
CORE = "core"

# One private /16 that little else uses: nodes in its first /24, Services in its second quarter, a /24 of
# its upper half for each node's pods.
NETWORK = ipaddress.ip_network("10.213.0.0/16")
NODE_NETWORK = ipaddress.ip_network("10.213.0.0/24")
SERVICE_NETWORK = ipaddress.ip_network("10.213.64.0/18")
POD_NETWORK = ipaddress.ip_network("10.213.128.0/17")
HOST_ADDRESS = str(NODE_NETWORK[1])
MAX_NODES = 100

# macOS, where kind runs too, holds port 5000 itself; kind's own guide takes 5001.
REGISTRY_PORTS: dict[Provider, int] = {"native": 5000, "kind": 5001}


@dataclass(frozen=True)
class NodeSpec:
    """One node: `index` 0 is the core node, whose `site` is empty."""

    name: str
    site: str
    index: int

    @property
    def labels(self) -> dict[str, str]:
        """The labels that EdgeModels select on; the core node has none of them."""
        return {EDGE_LABEL: "", SITE_LABEL: self.site} if self.site else {}

    @property
    def address(self) -> str:
        """The node's IPv4 address on the native cluster's network."""
        return str(NODE_NETWORK[10 + self.index])

    @property
    def pod_cidr(self) -> str:
        """The /24 of the native cluster's pod network that this node's pods live in."""
        return f"{POD_NETWORK[256 * self.index]}/24"


@dataclass(frozen=True)
class ClusterConfig:
    """What `up` is asked for. `registry_port` is the local registry's on the host's loopback; None: the provider's.

    Raises:
        ClusterError: a number is out of bounds.
    """

    sites: int = 2
    nodes_per_site: int = 1
    provider: Provider = "native"
    registry_port: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.sites <= 26:
            raise ClusterError(f"--sites is {self.sites}; a local cluster has 1 to 26 sites.")
        if not 1 <= self.nodes_per_site <= MAX_NODES or self.sites * self.nodes_per_site >= MAX_NODES:
            raise ClusterError(
                f"{self.sites} sites of {self.nodes_per_site} nodes: a local cluster has at most {MAX_NODES} nodes."
            )
        if self.registry_port is not None and not 1 <= self.registry_port <= 65535:
            raise ClusterError(f"--registry-port is {self.registry_port}; a port is a number from 1 to 65535.")

    @property
    def registry_name(self) -> str:
        """What image references begin with, for example `127.0.0.1:5000`."""
        return f"127.0.0.1:{self.registry_port or REGISTRY_PORTS[self.provider]}"

    @property
    def site_names(self) -> tuple[str, ...]:
        """`site-a`, `site-b`, …"""
        return tuple(f"site-{chr(ord('a') + number)}" for number in range(self.sites))

    @property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """The core node first, then each site's: `site-a` alone, or `site-a-1`, `site-a-2`, …"""
        nodes = [NodeSpec(CORE, "", 0)]
        for site in self.site_names:
            for number in range(1, self.nodes_per_site + 1):
                name = site if self.nodes_per_site == 1 else f"{site}-{number}"
                nodes.append(NodeSpec(name, site, len(nodes)))
        return tuple(nodes)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary that `from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ClusterConfig:
        """The configuration that `to_dict` wrote."""
        return cls(**value)
