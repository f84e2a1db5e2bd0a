"""Forwarded ports: how the host reaches a Service of a cluster whose network it is not part of."""

from __future__ import annotations

from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.native.control_plane import free_ports
from tools.localcluster.native.registry import listens
from tools.localcluster.system.processes import Daemon, stray_processes, terminate
from tools.localcluster.system.shell import wait_for


class Forwards:
    """`kubectl port-forward` in the background, one for each Service port that was asked for."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._kubectl = kubectl
        self._folder = folder

    def url(self, namespace: str, service: str, port: int) -> str:
        """The URL on loopback of a Service's port, the same at every call.

        Every call forwards anew: a forwarding is bound to one pod, and does not always notice that it has gone.
        """
        name = f"{namespace}.{service}.{port}"
        daemon = Daemon(name, self._folder)
        daemon.stop(grace=0)
        chosen = self._folder / f"{name}.port"
        if not chosen.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            chosen.write_text(str(free_ports(1, "127.0.0.1")[0]))
        local = int(chosen.read_text())
        arguments = ("port-forward", f"--namespace={namespace}", f"service/{service}", f"{local}:{port}")
        # The threads of a process that was killed may hold its port a moment longer than it is there.
        wait_for(f"port {local} to be free", lambda: not listens("127.0.0.1", local), 10, 0.05)
        daemon.log.unlink(missing_ok=True)
        daemon.ensure(self._kubectl.command(*arguments))

        def ready() -> bool:
            if not daemon.alive:
                raise ClusterError(f"Service {namespace}/{service} cannot be reached: {daemon.log_tail(3)}")
            # To connect and leave would be a failed connection for some kubelets, with which kubectl ends.
            return "Forwarding from" in daemon.log.read_text()

        wait_for(f"the port of Service {namespace}/{service}", ready, 30)
        return f"http://127.0.0.1:{local}"

    def stop(self) -> None:
        """End all of them."""
        terminate(stray_processes(self._folder), grace=1)
