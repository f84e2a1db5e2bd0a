"""Provider `existing`: a cluster of somebody's own that KUBECONFIG names. Nothing but namespaces of ours is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

from tools.localcluster.config import SITE_LABEL, ClusterConfig, NodeSpec, Provider
from tools.localcluster.errors import ClusterError, NotSupportedError
from tools.localcluster.forward import Forwards
from tools.localcluster.handle import ProcessStatus, is_ready, labelled_nodes
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import run


class ExistingCluster:
    """The cluster that KUBECONFIG named when `up` ran; see handle.Driver for what tests do with it.

    EDGEMODEL_REGISTRY names the registry (`host[:port][/path]`) that this machine and the nodes reach, with `http://`
    before it where it has no TLS. EDGEMODEL_REGISTRY_IN_PODS is its URL for pods where that is another.
    """

    provider: Provider = "existing"

    def __init__(self, config: ClusterConfig, state: Path) -> None:
        self.config = config
        self._state = state
        self._forwards = Forwards(self.kubectl, state / "forwards")

    def require(self) -> None:
        """Raise ClusterError where no cluster is named."""
        if not self.kubeconfig.exists() and not os.environ.get("KUBECONFIG"):
            raise ClusterError("Provider existing needs KUBECONFIG: set it to the kubeconfig of your cluster.")

    def up(self, progress: Progress) -> None:
        """Remember the kubeconfig, and see that the cluster answers and has edge nodes."""
        source = os.environ.get("KUBECONFIG", "")
        with progress.step("cluster answers"):
            if source and Path(source) != self.kubeconfig:
                # KUBECONFIG may list several files; flattened, the copy stays true when the shell's variable changes.
                flat = run("kubectl", "config", "view", "--minify", "--flatten", env={"KUBECONFIG": source})
                self.kubeconfig.touch(mode=0o600)
                self.kubeconfig.write_text(flat.stdout)
            sites = {node.site for node in self.nodes() if node.site}
        if not sites:
            raise ClusterError(
                "No node carries the label node-role.kubernetes.io/edge; label the nodes of your sites with it and"
                f" with {SITE_LABEL}=<site>."
            )

    def down(self, progress: Progress) -> None:
        """Stop the forwarded ports; the cluster stays as it is."""
        with progress.step("forwarded ports"):
            self._forwards.stop()

    @property
    def kubeconfig(self) -> Path:
        """A copy of the current context of the user's kubeconfig."""
        return self._state / "kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as that context's user."""
        return Kubectl(Path(shutil.which("kubectl") or "kubectl"), self.kubeconfig)

    @property
    def registry_name(self) -> str:
        """What image references begin with: EDGEMODEL_REGISTRY without its scheme."""
        return self.registry_host_endpoint.partition("://")[2]

    @property
    def registry_host_endpoint(self) -> str:
        """That registry's URL."""
        name = os.environ.get("EDGEMODEL_REGISTRY", "")
        if not name:
            raise NotSupportedError(
                "On an existing cluster, set EDGEMODEL_REGISTRY to a registry that it pulls from and you push to."
            )
        return name if "://" in name else f"https://{name}"

    @property
    def registry_pod_endpoint(self) -> str:
        """The same URL, unless EDGEMODEL_REGISTRY_IN_PODS says another."""
        return os.environ.get("EDGEMODEL_REGISTRY_IN_PODS") or self.registry_host_endpoint

    def nodes(self) -> tuple[NodeSpec, ...]:
        """The cluster's nodes, by their labels."""
        return labelled_nodes(self._node_objects(), SITE_LABEL)

    def cut(self, site: str) -> None:
        """Not ours to do."""
        self._refuse(f"cut site {site} off")

    def restore(self, site: str) -> None:
        """Not ours to do."""
        self._refuse(f"restore site {site}")

    def is_cut(self, site: str) -> bool:  # noqa: ARG002 (the Driver's signature)
        """Never by us."""
        return False

    def kill_node(self, name: str) -> None:
        """Not ours to do."""
        self._refuse(f"kill node {name}")

    def start_node(self, name: str) -> None:
        """Not ours to do."""
        self._refuse(f"start node {name}")

    def kill_container(self, pod: dict[str, Any], container_id: str) -> None:  # noqa: ARG002
        """Nobody outside the node can send that signal: the pod is deleted without grace instead."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self.kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force")

    def stop_registry(self) -> None:
        """Not ours to do."""
        self._refuse("stop its registry")

    def start_registry(self) -> None:
        """Not ours to do."""
        self._refuse("start its registry")

    def service_url(self, namespace: str, service: str, port: int) -> str:
        """A port on loopback, forwarded by kubectl."""
        return self._forwards.url(namespace, service, port)

    def processes(self) -> list[ProcessStatus]:
        """None are ours."""
        return []

    def problems(self) -> list[str]:
        """One sentence for each node that is not Ready."""
        try:
            nodes = self._node_objects()
        except ClusterError as error:
            return [f"The API server does not answer: {error}"]
        return [f"Node {node['metadata']['name']} is not Ready." for node in nodes if not is_ready(node)]

    def _node_objects(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.kubectl.json("get", "nodes", timeout=30)["items"]
        return items

    def _refuse(self, deed: str) -> NoReturn:
        raise NotSupportedError(f"The harness does not {deed} on an existing cluster; use provider native or kind.")
