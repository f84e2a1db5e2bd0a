"""The native cluster's wires: a bridge, per site a bridge with an uplink, per node a network namespace.

```
host ── edgem-br0 10.213.0.1 ──┬── core                       (namespace edgem-n0)
                               ├── edgem-u1 ═ edgem-s1 ──┬── site-a-1  (edgem-n1)
                               │    uplink   site bridge └── site-a-2  (edgem-n2)
                               └── edgem-u2 ═ edgem-s2 ───── site-b-1  (edgem-n3)
```
A site that is cut loses its uplink alone: its nodes still reach each other.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.localcluster.config import (
    HOST_ADDRESS,
    NETWORK,
    NODE_NETWORK,
    POD_NETWORK,
    SERVICE_NETWORK,
    ClusterConfig,
    NodeSpec,
)
from tools.localcluster.errors import ClusterError
from tools.localcluster.system.shell import run

PREFIX = "edgem-"
BRIDGE = f"{PREFIX}br0"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_NETNS = Path("/run/netns")


def netns(node: NodeSpec) -> str:
    """The name of a node's network namespace."""
    return f"{PREFIX}n{node.index}"


def site_bridge(config: ClusterConfig, site: str) -> str:
    """The bridge that a site's nodes hang on; the core node hangs on the host's."""
    return f"{PREFIX}s{config.site_names.index(site) + 1}" if site else BRIDGE


def uplink(config: ClusterConfig, site: str) -> str:
    """The host's end of the wire to a site."""
    return f"{PREFIX}u{config.site_names.index(site) + 1}"


def up(config: ClusterConfig, state: Path) -> None:
    """Make all that is missing; harmless where all is there."""
    _refuse_overlap()
    links = _links()
    _bridge(BRIDGE, links)
    run("ip", "address", "replace", f"{HOST_ADDRESS}/{NODE_NETWORK.prefixlen}", "dev", BRIDGE)
    for number, site in enumerate(config.site_names, start=1):
        bridge = site_bridge(config, site)
        _bridge(bridge, links)
        near, far = uplink(config, site), f"{PREFIX}p{number}"
        if near not in links:
            run("ip", "link", "add", near, "type", "veth", "peer", "name", far)
            run("ip", "link", "set", near, "master", BRIDGE, "up")
        run("ip", "link", "set", far, "master", bridge, "up")
    for node in config.nodes:
        _node(node, config, links)
    _routes(config)
    _forward(state)


def cut(config: ClusterConfig, site: str) -> None:
    """Take a site's uplink down."""
    run("ip", "link", "set", uplink(config, site), "down")


def restore(config: ClusterConfig, site: str) -> None:
    """Take a site's uplink up again."""
    run("ip", "link", "set", uplink(config, site), "up")


def is_cut(config: ClusterConfig, site: str) -> bool:
    """Whether a site's uplink is down."""
    shown: list[dict[str, Any]] = json.loads(run("ip", "-j", "link", "show", uplink(config, site)).stdout)
    return "UP" not in shown[0]["flags"]


def down(state: Path) -> None:
    """Remove every namespace, link, route and iptables rule of ours and put ip_forward back."""
    for name in namespaces():
        run("ip", "netns", "delete", name, check=False)
    # Deleting a bridge deletes its address and routes, deleting one end of a veth the other end.
    for name in sorted(links()):
        run("ip", "link", "delete", name, check=False)
    for table, chain, custom in _CHAINS:
        _iptables(table, "-D", chain, "-j", custom, check=False)
        _iptables(table, "-F", custom, check=False)
        _iptables(table, "-X", custom, check=False)
    saved = state / "ip_forward"
    if saved.exists():
        _FORWARD.write_text(saved.read_text())
        saved.unlink()


def links() -> set[str]:
    """The host's network devices that are ours."""
    return {name for name in _links() if name.startswith(PREFIX)}


def namespaces() -> list[str]:
    """The named network namespaces that are ours."""
    return sorted(path.name for path in _NETNS.glob(f"{PREFIX}*"))


def rules() -> list[str]:
    """The host's iptables rules and chains that are ours."""
    found = []
    for table in ("filter", "nat"):
        saved = run("iptables", "-w", "-t", table, "-S", check=False).stdout
        found += [f"{table}: {line}" for line in saved.splitlines() if re.search(r"\bEDGEMODEL-", line)]
    return found


def overlapping(routes: Sequence[dict[str, Any]]) -> list[str]:
    """Those of `ip -j route`'s routes that claim addresses of ours and are not ours."""
    found = []
    for route in routes:
        destination = str(route.get("dst", "default"))
        if destination == "default" or str(route.get("dev", "")).startswith(PREFIX):
            continue
        try:
            network = ipaddress.ip_network(destination, strict=False)
        except ValueError:
            continue
        if network.version == 4 and network.overlaps(NETWORK):
            found.append(f"{destination} dev {route.get('dev', '?')}")
    return found


def _refuse_overlap() -> None:
    taken = overlapping(json.loads(run("ip", "-j", "-4", "route", "show", "table", "main").stdout or "[]"))
    if taken:
        raise ClusterError(
            f"This machine already routes {', '.join(taken)}, and the local cluster uses {NETWORK}."
            " Leave that network (a VPN?), or use Docker and kind."
        )


def _links() -> set[str]:
    # Where there is no `ip` yet there is no link of ours either.
    return {link["ifname"] for link in json.loads(run("ip", "-j", "link", "show", check=False).stdout or "[]")}


def _bridge(name: str, known: set[str]) -> None:
    if name not in known:
        run("ip", "link", "add", name, "type", "bridge")
    run("ip", "link", "set", name, "up")


def _node(node: NodeSpec, config: ClusterConfig, known: set[str]) -> None:
    name = netns(node)
    if not (_NETNS / name).exists():
        run("ip", "netns", "add", name)
    if name not in known:
        # The inner end is left over where a run was interrupted between the next two commands.
        run("ip", "-n", name, "link", "delete", "eth0", check=False)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", name, "master", site_bridge(config, node.site), "up")
    run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "-n", name, "address", "replace", f"{node.address}/{NODE_NETWORK.prefixlen}", "dev", "eth0")
    run("ip", "-n", name, "link", "set", "eth0", "up")
    run("ip", "-n", name, "route", "replace", "default", "via", HOST_ADDRESS)
    # Pods' traffic passes through; not `ip netns exec`, which would do more than enter the network.
    run("nsenter", f"--net={_NETNS / name}", "sh", "-c", f"echo 1 > {_FORWARD}")


def _routes(config: ClusterConfig) -> None:
    nodes = config.nodes
    for node in nodes:
        run("ip", "route", "replace", node.pod_cidr, "via", node.address)
        others = [f"route replace {other.pod_cidr} via {other.address}" for other in nodes if other != node]
        run("ip", "-n", netns(node), "-batch", "-", input="\n".join(others) + "\n")
    # The host runs no kube-proxy: the core node's translates for it (and masquerades, so that answers return there).
    run("ip", "route", "replace", str(SERVICE_NETWORK), "via", nodes[0].address)


_CHAINS = (("filter", "FORWARD", "EDGEMODEL-FORWARD"), ("nat", "POSTROUTING", "EDGEMODEL-POSTROUTING"))


def _forward(state: Path) -> None:
    """Let nodes and pods reach the outside, and each other where the host's own firewall drops forwarded packets."""
    saved = state / "ip_forward"
    if not saved.exists():
        saved.write_text(_FORWARD.read_text())
    _FORWARD.write_text("1\n")
    for table, chain, custom in _CHAINS:
        _iptables(table, "-N", custom, check=False)
        _iptables(table, "-F", custom)
        if _iptables(table, "-C", chain, "-j", custom, check=False):
            _iptables(table, "-I", chain, "-j", custom)
    _iptables("filter", "-A", "EDGEMODEL-FORWARD", "-i", f"{PREFIX}+", "-j", "ACCEPT")
    _iptables("filter", "-A", "EDGEMODEL-FORWARD", "-o", f"{PREFIX}+", "-j", "ACCEPT")
    for source in (NODE_NETWORK, POD_NETWORK):
        # Bridged packets come by here too where br_netfilter is on: only what leaves our bridges is rewritten.
        _iptables("nat", "-A", "EDGEMODEL-POSTROUTING", "-s", str(source), "!", "-o", f"{PREFIX}+", "-j", "MASQUERADE")


def _iptables(table: str, *args: str, check: bool = True) -> int:
    return run("iptables", "-w", "-t", table, *args, check=check).returncode
