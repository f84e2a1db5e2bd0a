"""What tests and the demo hold in their hands: a cluster, its sites, nodes, registry and operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tools.localcluster.config import EDGE_LABEL, NodeSpec, Provider
from tools.localcluster.errors import ClusterError
from tools.localcluster.kubectl import Kubectl

OPERATOR_NAMESPACE = "edgemodel-system"
OPERATOR_SELECTOR = "app.kubernetes.io/name=edgemodel-operator"


@dataclass(frozen=True)
class ProcessStatus:
    """One process (or container) of the cluster and where it logs."""

    name: str
    alive: bool
    pid: int | None
    log: str


class Driver(Protocol):
    """What a provider can do to its cluster; NotSupportedError where it cannot."""

    provider: Provider

    @property
    def kubeconfig(self) -> Path: ...

    @property
    def kubectl(self) -> Kubectl: ...

    @property
    def registry_name(self) -> str: ...

    @property
    def registry_host_endpoint(self) -> str: ...

    @property
    def registry_pod_endpoint(self) -> str: ...

    def nodes(self) -> tuple[NodeSpec, ...]: ...

    def cut(self, site: str) -> None: ...

    def restore(self, site: str) -> None: ...

    def is_cut(self, site: str) -> bool: ...

    def kill_node(self, name: str) -> None: ...

    def start_node(self, name: str) -> None: ...

    def kill_container(self, pod: dict[str, Any], container_id: str) -> None: ...

    def stop_registry(self) -> None: ...

    def start_registry(self) -> None: ...

    def service_url(self, namespace: str, service: str, port: int) -> str: ...

    def processes(self) -> list[ProcessStatus]: ...

    def problems(self) -> list[str]: ...


class Registry:
    """The image registry beside the cluster."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @property
    def name(self) -> str:
        """What image references begin with, for example `127.0.0.1:5000`."""
        return self._driver.registry_name

    @property
    def host_endpoint(self) -> str:
        """Its URL as seen from this machine."""
        return self._driver.registry_host_endpoint

    @property
    def pod_endpoint(self) -> str:
        """Its URL as seen from a pod."""
        return self._driver.registry_pod_endpoint

    def stop(self) -> None:
        """Take it down; the images stay."""
        self._driver.stop_registry()

    def start(self) -> None:
        """Bring it back and wait until it answers."""
        self._driver.start_registry()


class Node:
    """One node. `site` is empty for the core node."""

    def __init__(self, driver: Driver, spec: NodeSpec) -> None:
        self._driver = driver
        self.name = spec.name
        self.site = spec.site

    def kill(self) -> None:
        """A power cut: every process of the node ends at once, containers included."""
        self._driver.kill_node(self.name)

    def start(self) -> None:
        """Power on again; returns when its programs run, which is before the node is Ready."""
        self._driver.start_node(self.name)

    @property
    def ready(self) -> bool:
        """What the Ready condition of its Node object says."""
        found: dict[str, Any] = self._driver.kubectl.json("get", "node", self.name, timeout=15)
        return is_ready(found)


class Site:
    """An edge site: the nodes behind one link."""

    def __init__(self, driver: Driver, name: str, nodes: tuple[Node, ...]) -> None:
        self._driver = driver
        self.name = name
        self.nodes = nodes

    @property
    def is_cut(self) -> bool:
        """Whether its link is down."""
        return self._driver.is_cut(self.name)

    def cut(self) -> None:
        """Take its link to everything else down; its nodes run on. They are NotReady some 20 s later."""
        self._driver.cut(self.name)

    def restore(self) -> None:
        """Bring its link back; its nodes are Ready a few seconds later."""
        self._driver.restore(self.name)


class Operator:
    """The operator's pod in namespace edgemodel-system, label app.kubernetes.io/name=edgemodel-operator."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def kill(self) -> None:
        """SIGKILL for its process; kubelet starts it again.

        Raises:
            ClusterError: no container of it runs.
        """
        kill_pods(self._driver, OPERATOR_NAMESPACE, OPERATOR_SELECTOR)


class Cluster:
    """A running cluster. Get one from `tools.localcluster.up` or `tools.localcluster.load`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.registry = Registry(driver)
        self.operator = Operator(driver)

    @property
    def provider(self) -> Provider:
        """`native`, `kind` or `existing`."""
        return self._driver.provider

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._driver.kubeconfig

    @property
    def kubectl(self) -> Kubectl:
        """Run kubectl as administrator: `cluster.kubectl("get", "pods", timeout=10).stdout`."""
        return self._driver.kubectl

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that carry pods, the core node first."""
        return tuple(Node(self._driver, spec) for spec in self._driver.nodes())

    @property
    def core(self) -> Node:
        """The node outside every site, where the operator and the Jobs run."""
        return next(node for node in self.nodes if not node.site)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The edge sites, by name."""
        nodes = self.nodes
        names = sorted({node.site for node in nodes if node.site})
        return tuple(Site(self._driver, name, tuple(node for node in nodes if node.site == name)) for name in names)

    def node(self, name: str) -> Node:
        """The node of that name; ClusterError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ClusterError(f"No node {name}; there are {', '.join(node.name for node in self.nodes)}.")

    def site(self, name: str) -> Site:
        """The site of that name; ClusterError where there is none."""
        for site in self.sites:
            if site.name == name:
                return site
        raise ClusterError(f"No site {name}; there are {', '.join(site.name for site in self.sites)}.")

    def service_url(self, namespace: str, service: str, port: int) -> str:
        """A URL without trailing slash at which this machine reaches a Service's port.

        On the native cluster that is the Service's own cluster IP (the same URL works inside pods), elsewhere a
        forwarded port on loopback; ask anew after the Service's pods were replaced.
        """
        return self._driver.service_url(namespace, service, port)

    def kill_pods(self, namespace: str, selector: str) -> None:
        """SIGKILL for every running container of the pods that match; kubelet restarts them as their pod says.

        Raises:
            ClusterError: no container of such a pod runs.
        """
        kill_pods(self._driver, namespace, selector)

    def processes(self) -> list[ProcessStatus]:
        """The cluster's own processes."""
        return self._driver.processes()

    def problems(self) -> list[str]:
        """What is wrong, one sentence each; empty for a healthy cluster. A site that is cut is a problem."""
        return self._driver.problems()


def kill_pods(driver: Driver, namespace: str, selector: str) -> None:
    """See Cluster.kill_pods."""
    pods = driver.kubectl.json("get", "pods", "-n", namespace, "-l", selector)
    running = [
        (pod, status["containerID"].rpartition("/")[2])
        for pod in pods["items"]
        for status in pod["status"].get("containerStatuses", [])
        if "running" in status["state"]
    ]
    if not running:
        raise ClusterError(f"No pod with {selector} runs in namespace {namespace}.")
    for pod, container in running:
        driver.kill_container(pod, container)


def is_ready(node: dict[str, Any]) -> bool:
    """What the Ready condition of a Node object says."""
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def labelled_nodes(nodes: list[dict[str, Any]], site_label: str) -> tuple[NodeSpec, ...]:
    """Node objects as specs, those without the edge label first; control plane nodes are left out."""
    specs = []
    for node in nodes:
        labels = node["metadata"].get("labels", {})
        taints = [taint["key"] for taint in node.get("spec", {}).get("taints", [])]
        if any(key.startswith("node-role.kubernetes.io/") and key != EDGE_LABEL for key in taints):
            continue
        site = labels.get(site_label, "default") if EDGE_LABEL in labels else ""
        specs.append((site, node["metadata"]["name"]))
    return tuple(NodeSpec(name, site, index) for index, (site, name) in enumerate(sorted(specs)))
