"""Provider `kind`: the same cluster as containers of a Docker engine, with a registry container beside them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.localcluster.config import SITE_LABEL, ClusterConfig, NodeSpec, Provider
from tools.localcluster.errors import ClusterError
from tools.localcluster.forward import Forwards
from tools.localcluster.handle import ProcessStatus, is_ready, labelled_nodes
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.local import LocalCluster
from tools.localcluster.native.registry import answers
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import run, wait_for

NAME = "edgemodel"
REGISTRY_CONTAINER = "edgemodel-registry"
_REGISTRY_IMAGE = "registry:3"
# Inside its container, whatever the port on the host.
_REGISTRY_PORT = 5000
# The first whose node images have containerd look into certs.d by themselves.
_FIRST_WITH_CERTS_D = (0, 27)
_CERTS_D = """[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
"""
_NETWORK = "kind"
_TEMPLATE = Path(__file__).with_name("kind.yaml")


def available() -> bool:
    """Whether `docker` and `kind` are here and a Docker engine answers."""
    if shutil.which("docker") is None or shutil.which("kind") is None:
        return False
    return run("docker", "info", check=False, timeout=20).returncode == 0


def cluster_document(template: str, config: ClusterConfig, version: str) -> dict[str, Any]:
    """The template with a worker for every node of `config`, in that order.

    Args:
        version: kind's own, as `kind version --quiet` prints it.
    """
    document: dict[str, Any] = yaml.safe_load(template)
    major, minor = (int(number) for number in version.split(".")[:2])
    if (major, minor) < _FIRST_WITH_CERTS_D:
        document["containerdConfigPatches"] = [_CERTS_D]
    document["nodes"] = [*document["nodes"], *({"role": "worker"} for _ in config.nodes)]
    return document


def container_names(config: ClusterConfig) -> dict[str, NodeSpec]:
    """kind's name of each worker -> what it is; kind numbers workers in the order of its configuration."""
    names = (f"{NAME}-worker{number if number > 1 else ''}" for number in range(1, len(config.nodes) + 1))
    return dict(zip(names, config.nodes, strict=True))


def registry_hosts() -> str:
    """containerd's hosts.toml in a node: the registry's name leads to its container."""
    return f'[host."http://{REGISTRY_CONTAINER}:{_REGISTRY_PORT}"]\n'


def run_registry_command(name: str) -> list[str]:
    """The command that starts the registry container for the first time, known on the host as `name`."""
    return [
        *("docker", "run", "--detach", "--restart=always", f"--name={REGISTRY_CONTAINER}", "--network=bridge"),
        *(f"--publish={name}:{_REGISTRY_PORT}", "--env=REGISTRY_STORAGE_DELETE_ENABLED=true"),
        # Else it logs every few seconds that nobody takes its traces.
        *("--env=OTEL_TRACES_EXPORTER=none", _REGISTRY_IMAGE),
    ]


def create_command(kubeconfig: Path, environment: Mapping[str, str]) -> list[str]:
    """The command that creates the cluster; EDGEMODEL_KIND_IMAGE names another node image than kind's own."""
    image = environment.get("EDGEMODEL_KIND_IMAGE")
    return [
        *("kind", "create", "cluster", "--config=-", f"--kubeconfig={kubeconfig}", "--wait=120s"),
        *([f"--image={image}"] if image else []),
    ]


def hosting(name: str) -> dict[str, Any]:
    """Where tools of other people look for a cluster's local registry (Kubernetes' enhancement 1755)."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
        "data": {
            "localRegistryHosting.v1": f'host: "{name}"\nhelp: "https://kind.sigs.k8s.io/docs/user/local-registry/"\n'
        },
    }


class KindCluster(LocalCluster):
    """The cluster that kind calls `edgemodel`; see handle.Driver for what tests do with it."""

    provider: Provider = "kind"

    def __init__(self, config: ClusterConfig, state: Path) -> None:
        super().__init__(config, state)
        self._forwards = Forwards(self.kubectl, state / "forwards")

    def require(self) -> None:
        """Raise ClusterError where this machine cannot carry the cluster."""
        if not available():
            raise ClusterError("Provider kind needs `docker` with an engine that answers and `kind` on PATH.")

    def up(self, progress: Progress) -> None:
        """Create what is missing and wait until every node is Ready."""
        with progress.step("registry"):
            self.start_registry()
        if NAME not in run("kind", "get", "clusters").stdout.split():
            version = run("kind", "version", "--quiet").stdout.strip()
            document = cluster_document(_TEMPLATE.read_text(), self.config, version)
            with progress.step("kind create cluster"):
                run(*create_command(self.kubeconfig, os.environ), input=yaml.safe_dump(document), timeout=900)
        with progress.step("nodes"):
            run("kind", "export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={self.kubeconfig}")
            for name, spec in container_names(self.config).items():
                self._prepare(name, spec)
            if not self._on_network(REGISTRY_CONTAINER):
                run("docker", "network", "connect", _NETWORK, REGISTRY_CONTAINER)
            self.kubectl.create(hosting(self.registry_name))
            wait_for("all nodes to be Ready", lambda: all(map(is_ready, self._node_objects())), 180, 0.5)

    def down(self, progress: Progress) -> None:
        """Delete the cluster and the registry container with its images."""
        with progress.step("kind delete cluster"):
            self._forwards.stop()
            run("kind", "delete", "cluster", f"--name={NAME}", f"--kubeconfig={self.kubeconfig}", timeout=300)
        with progress.step("registry"):
            run("docker", "rm", "--force", "--volumes", REGISTRY_CONTAINER, check=False)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator."""
        return Kubectl(Path("kubectl"), self.kubeconfig)

    @property
    def registry_pod_endpoint(self) -> str:
        """The registry's URL in a pod: the container's address on kind's network."""
        return f"http://{self._address(REGISTRY_CONTAINER)}:{_REGISTRY_PORT}"

    def nodes(self) -> tuple[NodeSpec, ...]:
        """The workers, by their labels."""
        return labelled_nodes(self._node_objects(), SITE_LABEL)

    def cut(self, site: str) -> None:
        """Take the site's containers off kind's network; the addresses are kept for `restore`."""
        for name in self._of_site(site):
            if self._on_network(name):
                self._saved_address(name).write_text(self._address(name))
                run("docker", "network", "disconnect", _NETWORK, name)

    def restore(self, site: str) -> None:
        """Put the site's containers back on the network, at the addresses they had."""
        for name in self._of_site(site):
            if not self._on_network(name):
                address = self._saved_address(name).read_text()
                run("docker", "network", "connect", "--ip", address, _NETWORK, name)

    def is_cut(self, site: str) -> bool:
        """Whether a container of the site is off the network."""
        return not all(self._on_network(name) for name in self._of_site(site))

    def kill_node(self, name: str) -> None:
        """`docker kill`: the container and all in it end at once."""
        run("docker", "kill", name)

    def start_node(self, name: str) -> None:
        """`docker start`."""
        run("docker", "start", name)

    def kill_container(self, pod: dict[str, Any], container_id: str) -> None:
        """SIGKILL for a container's first process, sent from the node, where it is not pid 1."""
        node = pod["spec"]["nodeName"]
        inspect = ("crictl", "inspect", "--output=go-template", "--template={{.info.pid}}", container_id)
        pid = run("docker", "exec", node, *inspect).stdout.strip()
        run("docker", "exec", node, "kill", "-9", pid)

    def stop_registry(self) -> None:
        """Stop the registry container; its images stay."""
        run("docker", "stop", "--time=3", REGISTRY_CONTAINER)

    def start_registry(self) -> None:
        """Start the registry container, made where it is missing."""
        known = run("docker", "container", "inspect", REGISTRY_CONTAINER, check=False).returncode == 0
        command = ["docker", "start", REGISTRY_CONTAINER] if known else run_registry_command(self.registry_name)
        run(*command, timeout=300)
        wait_for("the registry", lambda: answers(self.registry_host_endpoint), 30)

    def service_url(self, namespace: str, service: str, port: int) -> str:
        """A port on loopback, forwarded by kubectl: Docker's networks are not reachable from every host."""
        return self._forwards.url(namespace, service, port)

    def processes(self) -> list[ProcessStatus]:
        """The containers, each with where its log is read."""
        listed = run("docker", "ps", "--all", "--format={{.Names}} {{.State}}").stdout.splitlines()
        wanted = {REGISTRY_CONTAINER, f"{NAME}-control-plane", *container_names(self.config)}
        states = dict(line.split(maxsplit=1) for line in listed)
        return [
            ProcessStatus(name, states.get(name) == "running", None, f"docker logs {name}") for name in sorted(wanted)
        ]

    def problems(self) -> list[str]:
        """One sentence for each container that is down, site that is cut and node that is not Ready."""
        found = [f"Container {each.name} does not run." for each in self.processes() if not each.alive]
        if not answers(self.registry_host_endpoint):
            found.append(f"The registry does not answer at {self.registry_host_endpoint}.")
        try:
            nodes = self._node_objects()
        except ClusterError as error:
            return [*found, f"The API server does not answer: {error}"]
        found += [f"Site {site} is cut off." for site in self.config.site_names if self.is_cut(site)]
        return found + [f"Node {node['metadata']['name']} is not Ready." for node in nodes if not is_ready(node)]

    def _prepare(self, name: str, spec: NodeSpec) -> None:
        folder = f"/etc/containerd/certs.d/{self.registry_name}"
        run("docker", "exec", name, "mkdir", "-p", folder)
        run("docker", "exec", "-i", name, "cp", "/dev/stdin", f"{folder}/hosts.toml", input=registry_hosts())
        # Not in kind's configuration: kubelet refuses to give itself a node-role label, and kind then fails.
        labels = [f"{key}={value}" for key, value in spec.labels.items()]
        if labels:
            self.kubectl("label", "node", name, "--overwrite", *labels)

    def _of_site(self, site: str) -> list[str]:
        return [name for name, spec in container_names(self.config).items() if spec.site == site]

    def _networks(self, container: str) -> dict[str, Any]:
        shown = run("docker", "inspect", "--format={{json .NetworkSettings.Networks}}", container).stdout
        networks: dict[str, Any] = json.loads(shown)
        return networks

    def _on_network(self, container: str) -> bool:
        return _NETWORK in self._networks(container)

    def _address(self, container: str) -> str:
        return str(self._networks(container)[_NETWORK]["IPAddress"])

    def _saved_address(self, container: str) -> Path:
        return self._state / f"{container}.address"

    def _node_objects(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.kubectl.json("get", "nodes", timeout=10)["items"]
        return items
