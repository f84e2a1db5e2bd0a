"""etcd, kube-apiserver and kube-controller-manager as processes: the throwaway API server of the api tests, and
with a scheduler beside it the control plane of the native cluster.

```python
with ControlPlane(tmp_path) as plane:
    plane.kubectl.apply("-f", "crds/")
    config = plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator")
```
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.localcluster.errors import ClusterError
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.native.pki import Authority, KeyPair, write_kubeconfig
from tools.localcluster.programs import assets as binaries
from tools.localcluster.programs.assets import Assets
from tools.localcluster.system.processes import Daemon, owned_by_this_process, sweep_orphans
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import wait_for

# Alpha or off in some version, on in every version since the second number: (first minor, minor where it is on).
_GATES = {"BoundServiceAccountTokenVolume": (13, 21), "TTLAfterFinished": (12, 21)}
# On a quiet machine it takes eight; a machine that is busy with other things is no failure.
_START_SECONDS = 300
# So often kube-controller-manager is started in one `up`.
_CONTROLLER_STARTS = 3


@dataclass(frozen=True)
class Options:
    """How a control plane differs from the throwaway kind.

    `address`: where kube-apiserver listens, one that nodes reach. `port`: 0 takes any free one. `nodes`: there
    will be kubelets, so a scheduler runs, nodes get pod networks, and a silent node becomes NotReady;
    without it the status of nodes and pods is what the test writes.
    """

    address: str = "127.0.0.1"
    port: int = 0
    nodes: bool = False
    service_network: str = "10.96.0.0/16"
    persistent: bool = False


# A node that sends no heartbeat is NotReady after this many seconds; Kubernetes' default is 40.
NODE_GRACE_SECONDS = 16


class ControlPlane:
    """One Kubernetes API with its controllers, ready about eight seconds after `start`.

    Several can run at once. All data, keys and logs lie in `folder`, which the caller owns and deletes. Unless
    the options say persistent, the processes belong to this Python process: should it be killed, the next
    `start` of any control plane sweeps them away.

    Args:
        folder: an empty folder, or one that a control plane has used before: its data is kept.
        assets: the binaries; found or built when absent (see tools.localcluster.programs.assets).
    """

    def __init__(self, folder: Path, options: Options | None = None, assets: Assets | None = None) -> None:
        self.folder = folder.absolute()
        self.options = options or Options()
        self._assets = assets
        self._authority = Authority(self.folder / "pki")
        self.etcd = Daemon("etcd", self.folder)
        self.apiserver = Daemon("kube-apiserver", self.folder)
        self.controller_manager = Daemon("kube-controller-manager", self.folder)
        self.scheduler = Daemon("kube-scheduler", self.folder)

    @property
    def assets(self) -> Assets:
        """The binaries that this control plane runs."""
        if self._assets is None:
            self._assets = binaries.resolve(Progress())
        return self._assets

    def use(self, assets: Assets) -> None:
        """Run these binaries at the next start."""
        self._assets = assets

    @property
    def authority(self) -> Authority:
        """Signs the certificates of everything that talks to this control plane."""
        return self._authority

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    @property
    def url(self) -> str:
        """The API server's base URL, `https://<address>:<port>`; ClusterError before the first start."""
        return f"https://{self.options.address}:{self._ports()['apiserver']}"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator: `plane.kubectl("get", "nodes")`."""
        return Kubectl(self.assets.kubectl, self.kubeconfig, self.assets.minor)

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """Its processes, in the order in which they start."""
        scheduler = (self.scheduler,) if self.options.nodes else ()
        return (self.etcd, self.apiserver, self.controller_manager, *scheduler)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start what does not run, and wait until the API answers and its controllers work.

        Raises:
            ClusterError: a process ended or the API was not ready in time; its log's last lines are quoted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.options.persistent:
            sweep_orphans()
        self._authority.ensure()
        self._start_etcd()
        self._make_kubeconfigs()
        self.start_apiserver()
        self._start_controllers()

    def stop(self) -> None:
        """Stop everything; the data stays in the folder."""
        for daemon in reversed(self.daemons):
            # etcd has nothing to save (see --unsafe-no-fsync), and a draining API server nobody to wait for.
            daemon.stop(grace=0 if daemon is self.etcd else 3)

    def start_apiserver(self) -> None:
        """Start kube-apiserver unless it runs, at the same address as ever, and wait until it is ready."""
        self.apiserver.ensure(self._apiserver_command(), self._env())
        context = ssl.create_default_context(cafile=str(self._authority.cert))
        admin = self._admin()
        context.load_cert_chain(admin.cert, admin.key)

        def ready() -> bool:
            self.apiserver.require_alive()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=context) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        wait_for(f"kube-apiserver to be ready (see {self.apiserver.log})", ready, _START_SECONDS, 0.1)

    def stop_apiserver(self, grace: float = 3) -> None:
        """Stop kube-apiserver; `grace=0` kills it. etcd and the controllers run on."""
        self.apiserver.stop(grace)

    def restart_apiserver(self) -> None:
        """Stop kube-apiserver and start it again; watches end, requests fail in between."""
        self.stop_apiserver()
        self.start_apiserver()

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 24 * 3600) -> Path:
        """A kubeconfig that speaks as an existing ServiceAccount, with a token good for `seconds`.

        Raises:
            CommandFailedError: there is no such ServiceAccount.
        """
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        # Not `kubectl create token`: that came with 1.24.
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(request)).stdout
        token = json.loads(answer)["status"]["token"]
        target = self.folder / f"{namespace}.{name}.kubeconfig"
        return write_kubeconfig(target, self.url, self._authority.cert, token, namespace)

    def kubeconfig_for(self, name: str, common_name: str, organization: str = "") -> Path:
        """A kubeconfig for a client certificate of that user and group, made unless it is there."""
        pair = self._authority.issue(name, common_name, organization)
        return write_kubeconfig(self.folder / f"{name}.kubeconfig", self.url, self._authority.cert, pair)

    def _admin(self) -> KeyPair:
        return self._authority.issue("admin", "edgemodel-admin", "system:masters")

    def _env(self) -> dict[str, str]:
        """The garbage of many requests is collected less often: memory is there, and CPU is what tests wait for."""
        if self.options.persistent:
            return {}
        return {"GOGC": "300", **owned_by_this_process()}

    def _ports(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        except FileNotFoundError:
            raise ClusterError(f"The control plane in {self.folder} has not been started yet.") from None
        return ports

    def _choose_ports(self) -> None:
        own = free_ports(2, "127.0.0.1")
        ports = {"etcd": own[0], "apiserver": self.options.port or own[1]}
        part = self.folder / "ports.json.part"
        part.write_text(json.dumps(ports))
        part.rename(self.folder / "ports.json")

    def _start_etcd(self) -> None:
        if self.etcd.alive:
            return
        if not self.apiserver.alive:
            # Somebody may have taken yesterday's ports; a running API server pins its etcd's, though.
            self._choose_ports()
        url = f"https://127.0.0.1:{self._ports()['etcd']}"
        pair = self._authority.issue("etcd", "etcd", addresses=("IP:127.0.0.1",))
        self.etcd.ensure(
            [
                self.assets.etcd,
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                "--listen-peer-urls=http://127.0.0.1:0",
                f"--cert-file={pair.cert}",
                f"--key-file={pair.key}",
                f"--trusted-ca-file={self._authority.cert}",
                "--client-cert-auth",
                # Test data: a power failure may lose it, a killed process does not.
                "--unsafe-no-fsync",
            ],
            self._env(),
        )
        # One that ran without its etcd for a while asks for it every two minutes only.
        self.stop_apiserver(grace=0)

    def _make_kubeconfigs(self) -> None:
        write_kubeconfig(self.kubeconfig, self.url, self._authority.cert, self._admin())
        self.kubeconfig_for("kube-controller-manager", "system:kube-controller-manager")
        if self.options.nodes:
            self.kubeconfig_for("kube-scheduler", "system:kube-scheduler")

    def _apiserver_command(self) -> list[str | Path]:
        options = self.options
        pki = self._authority
        service_ip = ipaddress.ip_network(options.service_network)[1]
        names = ("DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc")
        serving = pki.issue(
            "kube-apiserver",
            "kube-apiserver",
            addresses=(f"IP:{options.address}", "IP:127.0.0.1", f"IP:{service_ip}", *names),
        )
        etcd = pki.issue("etcd", "etcd", addresses=("IP:127.0.0.1",))
        kubelet = pki.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
        tokens = pki.signing_key("service-account")
        command: list[str | Path] = [
            self.assets.path("kube-apiserver"),
            f"--bind-address={options.address}",
            f"--advertise-address={options.address}",
            f"--secure-port={self._ports()['apiserver']}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={pki.cert}",
            f"--cert-dir={self.folder / 'run'}",
            f"--etcd-servers=https://127.0.0.1:{self._ports()['etcd']}",
            f"--etcd-cafile={pki.cert}",
            f"--etcd-certfile={etcd.cert}",
            f"--etcd-keyfile={etcd.key}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={options.service_network}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={tokens}",
            f"--service-account-signing-key-file={tokens}",
            f"--kubelet-client-certificate={kubelet.cert}",
            f"--kubelet-client-key={kubelet.key}",
            f"--kubelet-certificate-authority={pki.cert}",
            # Nodes' names are in no DNS.
            "--kubelet-preferred-address-types=InternalIP",
            *self._gates(),
        ]
        if not options.nodes:
            # Nodes that a test creates are as ready as the test says; no controller would ever lift the taint.
            command.append("--disable-admission-plugins=TaintNodesByCondition")
            # The address is loopback, which Kubernetes refuses as the endpoint of its own Service.
            command.append("--endpoint-reconciler-type=none")
        return command

    def _start_controllers(self) -> None:
        options = self.options
        command: list[str | Path] = [
            self.assets.path("kube-controller-manager"),
            f"--kubeconfig={self.folder / 'kube-controller-manager.kubeconfig'}",
            f"--service-account-private-key-file={self._authority.signing_key('service-account')}",
            f"--root-ca-file={self._authority.cert}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            # The defaults (20 a second) are for a server shared by many; here they would be the benchmark's limit.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self._no_ports(),
            *self._gates(),
        ]
        if options.nodes:
            command += [
                f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
                "--node-monitor-period=2s",
                # Node objects are made with their pod networks; its allocator sleeps ten seconds before it starts.
                "--controllers=*,-nodeipam",
            ]
        else:
            command.append("--controllers=*,-nodelifecycle,-nodeipam")
            # Tests wait for it.
            command.append("--horizontal-pod-autoscaler-sync-period=1s")
        self.controller_manager.ensure(command, self._env())
        if options.nodes:
            scheduler = self.folder / "kube-scheduler.kubeconfig"
            self.scheduler.ensure(
                [
                    self.assets.path("kube-scheduler"),
                    f"--kubeconfig={scheduler}",
                    "--leader-elect=false",
                    *self._no_ports(),
                    *self._gates(),
                ],
                self._env(),
            )

        starts = 0

        def works() -> bool:
            # It ends by itself where the API server was not ready for it in time: an `up` that was killed before it
            # came here leaves one such behind.
            nonlocal starts
            if starts < _CONTROLLER_STARTS:
                starts += self.controller_manager.ensure(command, self._env())
            else:
                self.controller_manager.require_alive()
            # The controllers' first visible deed: without it no pod could be created.
            return self.kubectl("get", "serviceaccount/default", "-n", "default", check=False).returncode == 0

        wait_for(f"kube-controller-manager to work (see {self.controller_manager.log})", works, _START_SECONDS, 0.2)

    def _no_ports(self) -> list[str]:
        # Nobody scrapes them, and with fixed ports two control planes could not run at once. The plain-HTTP
        # port went away with 1.24.
        return ["--secure-port=0", *(["--port=0"] if self.assets.minor < 23 else [])]

    def _gates(self) -> list[str]:
        minor = self.assets.minor
        on = [f"{gate}=true" for gate, (first, default) in _GATES.items() if first <= minor < default]
        return [f"--feature-gates={','.join(on)}"] if on else []


def free_ports(count: int, address: str) -> list[int]:
    """That many TCP ports on which nobody listens at `address`."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((address, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
