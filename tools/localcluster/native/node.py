"""A native node: a network and a mount namespace with containerd, kubelet and kube-proxy of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.localcluster.config import POD_NETWORK, NodeSpec
from tools.localcluster.errors import ClusterError
from tools.localcluster.native import cgroups, network, node_config
from tools.localcluster.native.control_plane import ControlPlane
from tools.localcluster.native.pki import write_kubeconfig
from tools.localcluster.system.processes import Daemon, Identity, in_namespaces, terminate
from tools.localcluster.system.shell import SYSTEM_PATH, run, wait_for

_SOCKET = "/run/containerd/containerd.sock"


class NativeNode:
    """One node of the native cluster; its files and logs lie in `folder`."""

    def __init__(
        self, spec: NodeSpec, folder: Path, plane: ControlPlane, pause_archive: Path, registry_name: str
    ) -> None:
        self.spec = spec
        self._registry_name = registry_name
        self.folder = folder
        self._plane = plane
        self._pause_archive = pause_archive
        # Its mount namespace is the node's; it does nothing else, and dies with the node.
        self._holder = Daemon("holder", folder)
        self._containerd = Daemon("containerd", folder)
        self._kubelet = Daemon("kubelet", folder)
        self._kube_proxy = Daemon("kube-proxy", folder)

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Its processes, in the order in which they start."""
        return (self._holder, self._containerd, self._kubelet, self._kube_proxy)

    def start(self) -> bool:
        """Start what does not run; a node whose namespace was lost starts from nothing but its disk.

        Returns:
            Whether kubelet was started, so that what the API says of the node may be old.
        """
        if not self._holder.runs(self._holder_command()):
            self.kill()
        groups = cgroups.create(self.spec.name)
        self._write_files()
        holder = self._enter(groups)
        # A containerd beside Kubernetes' own programs is meant: Debian's may be older than their kubelet takes.
        path = f"PATH={node_config.ASSETS}:{SYSTEM_PATH}"
        inside = [*in_namespaces(holder, network.netns(self.spec)), "env", path]
        self._containerd.ensure(
            [*inside, "containerd", f"--config={node_config.FILES}/containerd.toml"], cgroups=groups
        )
        self._import_pause(inside)
        self._kube_proxy.ensure([*inside, *self._kube_proxy_command()], cgroups=groups)
        # Else it asks a cloud's metadata server for registry credentials first, and waits seconds for none.
        env = {"AWS_EC2_METADATA_DISABLED": "true"}
        return self._kubelet.ensure([*inside, *self._kubelet_command()], env, groups)

    def stop(self) -> None:
        """End the node and remove its control groups; its files stay."""
        self.kill()
        cgroups.remove(self.spec.name)

    def kill(self) -> None:
        """A power cut: SIGKILL for every process of the node, containers included."""
        # Killing can race with forking: look again until nobody is left.
        for _ in range(20):
            living = cgroups.processes(self.spec.name)
            if not living:
                break
            terminate(living, grace=0)
        for daemon in self.daemons:
            daemon.kill()

    def kill_container(self, container_id: str) -> None:
        """SIGKILL for the processes of one container, given by its id in the node's runtime."""
        living = cgroups.container_processes(self.spec.name, container_id)
        if not living:
            raise ClusterError(f"Container {container_id} has no living process on node {self.spec.name}.")
        terminate(living, grace=0)

    def manifest(self) -> dict[str, object]:
        """The Node object; kubelet may not give itself these labels, so it finds the object made."""
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.spec.name,
                "labels": {"kubernetes.io/hostname": self.spec.name, **self.spec.labels},
            },
            "spec": {"podCIDR": self.spec.pod_cidr, "podCIDRs": [self.spec.pod_cidr]},
            # kubelet 1.20 crashes on an object without these two maps when the machine has huge pages.
            "status": {"capacity": {"pods": "110"}, "allocatable": {"pods": "110"}},
        }

    def _write_files(self) -> None:
        resolv = Path("/etc/resolv.conf")
        upstream = Path("/run/systemd/resolve/resolv.conf")
        servers = [
            address
            for path in (resolv, upstream)
            if path.exists()
            for address in node_config.nameservers(path.read_text())
        ]
        written = node_config.files(self.spec, dict.fromkeys(servers), self._registry_name, self._plane.assets.minor)
        for name, text in written.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("run", "var", "pki"):
            (self.folder / name).mkdir(exist_ok=True)
        authority, name = self._plane.authority, self.spec.name
        shutil.copy2(authority.cert, self.folder / "pki" / "ca.crt")
        serving = authority.issue(f"kubelet-{name}", name, addresses=(f"IP:{self.spec.address}", f"DNS:{name}"))
        shutil.copy2(serving.cert, self.folder / "pki" / "kubelet.crt")
        shutil.copy2(serving.key, self.folder / "pki" / "kubelet.key")
        kubelet = authority.issue(f"node-{name}", f"system:node:{name}", "system:nodes")
        proxy = authority.issue("kube-proxy", "system:kube-proxy")
        url = self._plane.url
        write_kubeconfig(self.folder / "kubelet.kubeconfig", url, authority.cert, kubelet)
        write_kubeconfig(self.folder / "kube-proxy.kubeconfig", url, authority.cert, proxy)

    def _enter(self, groups: list[Path]) -> Identity:
        self._holder.ensure(self._holder_command(), cgroups=groups)
        identity = self._holder.identity
        assert identity is not None

        def entered() -> bool:
            self._holder.require_alive()
            return Path(f"/proc/{identity.pid}/root/run/node-ready").exists()

        wait_for(f"node {self.spec.name}'s namespaces (see {self._holder.log})", entered, 10, 0.02)
        return identity

    def _holder_command(self) -> list[str | Path]:
        return [
            *("nsenter", f"--net=/run/netns/{network.netns(self.spec)}", "--"),
            *("unshare", "--mount", "--propagation", "slave", "--"),
            *("sh", "-c", node_config.ENTER, "sh", self._plane.assets.folder, self.folder),
        ]

    def _import_pause(self, inside: list[str]) -> None:
        ctr = [*inside, "ctr", f"--address={_SOCKET}", "--namespace=k8s.io"]

        def answers() -> bool:
            self._containerd.require_alive()
            return run(*ctr, "version", check=False).returncode == 0

        wait_for(f"containerd of node {self.spec.name} (see {self._containerd.log})", answers, 60, 0.1)
        present = run(*ctr, "images", "ls", "-q").stdout.splitlines()
        if node_config.PAUSE_IMAGE not in present:
            archive = self.folder / "pause.tar"
            shutil.copy2(self._pause_archive, archive)
            try:
                run(*ctr, "images", "import", f"{node_config.FILES}/pause.tar")
            finally:
                archive.unlink()

    def _kubelet_command(self) -> list[str]:
        return [
            f"{node_config.ASSETS}/kubelet",
            f"--config={node_config.FILES}/kubelet.yaml",
            f"--kubeconfig={node_config.FILES}/kubelet.kubeconfig",
            f"--hostname-override={self.spec.name}",
            f"--node-ip={self.spec.address}",
            f"--container-runtime-endpoint=unix://{_SOCKET}",
            # Until 1.26 the runtime's kind had to be said.
            *(["--container-runtime=remote"] if self._plane.assets.minor < 24 else []),
        ]

    def _kube_proxy_command(self) -> list[str]:
        return [
            f"{node_config.ASSETS}/kube-proxy",
            f"--kubeconfig={node_config.FILES}/kube-proxy.kubeconfig",
            f"--hostname-override={self.spec.name}",
            "--proxy-mode=iptables",
            # What comes from outside the pods' network (the host) is masqueraded, so that answers come back.
            f"--cluster-cidr={POD_NETWORK}",
            # The connection tables' sizes are the machine's.
            "--conntrack-max-per-core=0",
            "--oom-score-adj=0",
        ]
