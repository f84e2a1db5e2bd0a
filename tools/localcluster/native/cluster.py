"""Provider `native`: a whole Kubernetes as processes of this machine, for where no Docker engine answers."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from pathlib import Path
from typing import Any

from tools.localcluster.config import (
    HOST_ADDRESS,
    SERVICE_NETWORK,
    ClusterConfig,
    NodeSpec,
    Provider,
)
from tools.localcluster.errors import ClusterError
from tools.localcluster.handle import ProcessStatus, is_ready
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.local import LocalCluster
from tools.localcluster.native import cgroups, network, pause_image
from tools.localcluster.native.control_plane import ControlPlane, Options
from tools.localcluster.native.node import NativeNode
from tools.localcluster.native.registry import RegistryServer, answers
from tools.localcluster.programs import assets, packages
from tools.localcluster.system.processes import Daemon, boot_id, stray_processes, sweep_orphans, terminate
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import wait_for

_READY_SECONDS = 120


class NativeCluster(LocalCluster):
    """The native cluster in `state`; see handle.Driver for what tests do with it."""

    provider: Provider = "native"

    def __init__(self, config: ClusterConfig, state: Path) -> None:
        super().__init__(config, state)
        options = Options(
            address=HOST_ADDRESS,
            port=6443,
            nodes=True,
            service_network=str(SERVICE_NETWORK),
            persistent=True,
        )
        self._plane = ControlPlane(state / "control-plane", options)
        self._registry = RegistryServer(state / "registry", config.registry_name)
        self._nodes = {
            spec.name: NativeNode(
                spec, state / "nodes" / spec.name, self._plane, state / "pause.tar", config.registry_name
            )
            for spec in config.nodes
        }

    def require(self) -> None:
        """Raise ClusterError where this machine cannot carry the cluster."""
        packages.require_debian_root()

    def up(self, progress: Progress) -> None:
        """Start all that does not run, and wait until every node is Ready."""
        packages.install(packages.RUNTIME, progress, self._state / "packages.log")
        self._plane.use(assets.resolve(progress, nodes=True))
        with progress.step("network"):
            network.up(self.config, self._state)
        with progress.step("registry"):
            self._registry.start()
        with progress.step("control plane"):
            self._plane.start()
            if not self.kubeconfig.is_symlink():
                self.kubeconfig.symlink_to(self._plane.kubeconfig)
        pause_image.write(self._plane.assets.path("pause"), self._state / "pause.tar")
        # Kubernetes' stamps are whole seconds.
        began = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        started = set()
        for name, node in self._nodes.items():
            with progress.step(f"node {name}"):
                self.kubectl.create(node.manifest())
                if node.start():
                    started.add(name)
        with progress.step("nodes Ready"):

            def ready() -> bool:
                for _, daemon in self._daemons():
                    daemon.require_alive()
                return all(
                    is_ready(node) and (node["metadata"]["name"] not in started or _heartbeat(node) >= began)
                    for node in self._node_objects()
                )

            wait_for(f"all nodes to be Ready (logs in {self._state / 'nodes'})", ready, _READY_SECONDS, 0.3)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator."""
        return self._plane.kubectl

    @property
    def registry_pod_endpoint(self) -> str:
        """The registry's URL in a pod, and on this machine too."""
        return f"http://{HOST_ADDRESS}:{self.registry_name.rpartition(':')[2]}"

    def nodes(self) -> tuple[NodeSpec, ...]:
        """The nodes as configured."""
        return self.config.nodes

    def cut(self, site: str) -> None:
        """Take the site's uplink down."""
        network.cut(self.config, site)

    def restore(self, site: str) -> None:
        """Take the site's uplink up."""
        network.restore(self.config, site)

    def is_cut(self, site: str) -> bool:
        """Whether the site's uplink is down."""
        return network.is_cut(self.config, site)

    def kill_node(self, name: str) -> None:
        """SIGKILL for every process of the node."""
        self._nodes[name].kill()

    def start_node(self, name: str) -> None:
        """Start the node's programs."""
        self._nodes[name].start()

    def kill_container(self, pod: dict[str, Any], container_id: str) -> None:
        """SIGKILL for the processes of one of the pod's containers."""
        self._nodes[pod["spec"]["nodeName"]].kill_container(container_id)

    def stop_registry(self) -> None:
        """Stop the registry; its images stay."""
        self._registry.stop()

    def start_registry(self) -> None:
        """Start the registry."""
        self._registry.start()

    def service_url(self, namespace: str, service: str, port: int) -> str:
        """The Service's cluster IP; the host's route to it leads through the core node."""
        found = self.kubectl.json("get", "service", service, "-n", namespace)
        return f"http://{found['spec']['clusterIP']}:{port}"

    def processes(self) -> list[ProcessStatus]:
        """Every process, those of the nodes named `<node>/<program>`."""
        return [
            ProcessStatus(name, daemon.alive, daemon.identity.pid if daemon.identity else None, str(daemon.log))
            for name, daemon in self._daemons()
        ]

    def problems(self) -> list[str]:
        """One sentence for each process that is dead, site that is cut and node that is not Ready."""
        found = [f"{name} does not run; see {daemon.log}." for name, daemon in self._daemons() if not daemon.alive]
        for endpoint in (self.registry_host_endpoint, self.registry_pod_endpoint):
            if not answers(endpoint):
                found.append(f"The registry does not answer at {endpoint}.")
        for site in self.config.site_names:
            with contextlib.suppress(ClusterError):
                if self.is_cut(site):
                    found.append(f"Site {site} is cut off.")
        try:
            nodes = self._node_objects()
        except ClusterError as error:
            return [*found, f"The API server does not answer: {error}"]
        missing = {spec.name for spec in self.nodes()} - {node["metadata"]["name"] for node in nodes}
        found += [f"Node {name} is not registered." for name in sorted(missing)]
        return found + [f"Node {node['metadata']['name']} is not Ready." for node in nodes if not is_ready(node)]

    def _daemons(self) -> list[tuple[str, Daemon]]:
        found = [(daemon.name, daemon) for daemon in (*self._plane.daemons, *self._registry.daemons)]
        for name, node in self._nodes.items():
            found += [(f"{name}/{daemon.name}", daemon) for daemon in node.daemons]
        return found

    def _node_objects(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.kubectl.json("get", "nodes", timeout=10)["items"]
        return items


def forget_after_reboot(state: Path) -> bool:
    """Empty the state folder where it tells of an earlier boot; returns whether it did.

    Links, mounts and processes went with the machine, and an etcd without fsync may have lost its last writes:
    a fresh cluster is worth more than a mended one.
    """
    mark = state / "boot-id"
    stale = mark.exists() and mark.read_text() != boot_id()
    if stale:
        remove_files(state)
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)
    mark.write_text(boot_id())
    return stale


def tear_down(state: Path, progress: Progress) -> None:
    """Remove all of a native cluster, whatever of it is there; needs no record of how it was made."""
    with progress.step("processes"):
        # Nodes first: a kubelet would start its containers again.
        for _ in range(50):
            living = cgroups.processes()
            if not living:
                break
            terminate(living, grace=0)
        for folder in _process_folders(state):
            terminate(stray_processes(folder), grace=3)
        sweep_orphans()
    with progress.step("network"):
        network.down(state)
    with progress.step("control groups"):

        def removed() -> bool:
            cgroups.remove()
            return not cgroups.groups()

        wait_for("the nodes' control groups to empty", removed, 30, 0.1)
    with progress.step("files"):
        remove_files(state)


def remove_files(folder: Path) -> None:
    """Remove a folder that other mount namespaces may still be letting go of."""

    def gone() -> bool:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        return not folder.exists()

    wait_for(f"{folder} to be removable", gone, 30, 0.2)


def _process_folders(state: Path) -> list[Path]:
    return [state / "control-plane", state / "registry", *sorted((state / "nodes").glob("*"))]


def _heartbeat(node: dict[str, Any]) -> datetime.datetime:
    stamps = [each["lastHeartbeatTime"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
    return datetime.datetime.fromisoformat(stamps[0])
