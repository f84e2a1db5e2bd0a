"""A machine outside of the native cluster: no node, no kube-proxy, no route but to the host, as a device in the field.

Beside it the small part of a cloud that Services of type LoadBalancer wait for: addresses, and routes to the nodes that
say they have a server. Both are on the host's network, and go with it (`network.down`).
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tools.localcluster.config import NETWORK
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.native.network import PREFIX
from tools.localcluster.system.shell import environment, run

OUTSIDE_NETWORK = ipaddress.ip_network((NETWORK[256], 24))
BALANCER_NETWORK = ipaddress.ip_network((NETWORK[512], 24))
_NAME = f"{PREFIX}out"
_NETNS = Path("/run/netns") / _NAME


class Outside:
    """That machine; made when it is first wanted."""

    def __init__(self) -> None:
        if _NETNS.exists():
            return
        host, address, bits = OUTSIDE_NETWORK[1], OUTSIDE_NETWORK[2], OUTSIDE_NETWORK.prefixlen
        run("ip", "netns", "add", _NAME)
        run("ip", "link", "add", _NAME, "type", "veth", "peer", "name", "eth0", "netns", _NAME)
        run("ip", "address", "add", f"{host}/{bits}", "dev", _NAME)
        run("ip", "link", "set", _NAME, "up")
        for command in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/{bits}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", str(host)),
        ):
            run("ip", "-n", _NAME, *command)

    def python(self, program: str, *args: str, stdin: bytes = b"", timeout: float = 60) -> str:
        """What a Python program prints there; subprocess.CalledProcessError with its words if it fails."""
        command = ("nsenter", f"--net={_NETNS}", sys.executable, "-c", program, *args)
        done = subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=timeout, env=environment())
        return done.stdout.decode().strip()


class LoadBalancers:
    """Gives each Service of type LoadBalancer an address, and routes it to the nodes that have a server for it."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def sync(self) -> None:
        """Look once, as a controller does again and again."""
        services = self._kubectl.json("get", "services", "--all-namespaces")["items"]
        wanted = [item for item in services if item["spec"]["type"] == "LoadBalancer"]
        taken = {address for item in wanted for address in _ingress(item)}
        free = (str(address) for address in BALANCER_NETWORK.hosts() if str(address) not in taken)
        for service in wanted:
            addresses = _ingress(service)
            if not addresses:
                addresses = [next(free)]
                self._tell(service, addresses[0])
            nodes = [node for node in self._nodes() if _has_server(service, node)]
            for address in addresses:
                run("ip", "route", "delete", address, check=False)
                if nodes:
                    hops = [part for node in nodes for part in ("nexthop", "via", node)]
                    run("ip", "route", "replace", address, *(hops if len(nodes) > 1 else hops[1:]))

    def _nodes(self) -> list[str]:
        items = self._kubectl.json("get", "nodes")["items"]
        return [
            address["address"]
            for item in items
            for address in item["status"]["addresses"]
            if address["type"] == "InternalIP"
        ]

    def _tell(self, service: dict[str, Any], address: str) -> None:
        meta = service["metadata"]
        status = service["status"] | {"loadBalancer": {"ingress": [{"ip": address}]}}
        path = f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}/status"
        self._kubectl("replace", "--raw", path, "-f", "-", input=json.dumps(service | {"status": status}))


def _ingress(service: dict[str, Any]) -> list[str]:
    return [item["ip"] for item in service["status"].get("loadBalancer", {}).get("ingress") or []]


def _has_server(service: dict[str, Any], node: str) -> bool:
    """With policy Local, what kube-proxy says at the Service's health port; with Cluster every node answers."""
    if service["spec"].get("externalTrafficPolicy") != "Local":
        return True
    try:
        url = f"http://{node}:{service['spec']['healthCheckNodePort']}/healthz"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False
