"""The operator as an administrator would run it, but as a child process: started, killed, read."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from edgemodel_operator.kube.kinds import WATCHED
from tests.api.waiting import eventually
from tools.localcluster.native.control_plane import free_ports

PROGRAM = Path(sys.executable).with_name("edgemodel-operator")
REPOSITORY = "registry.test/edgemodel/models"
INFERENCE_IMAGE = f"registry.test/edgemodel/inference@sha256:{'1' * 64}"
COMPRESSION_IMAGE = f"registry.test/edgemodel/compression@sha256:{'2' * 64}"
RESYNC_SECONDS = 10
RESYNC_LISTS = sum(1 + (kind.older_version is not None) for kind in WATCHED)
"""Reads of one resync: the lists, and the versions of what older API servers have in another one."""
"""EdgeModels, nodes, pods and five kinds of children."""

_SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


class OperatorProcess:
    """One operator at a time, with the same settings each time it is started; its log goes on in one file."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self.log = log
        self.port = free_ports(1, "127.0.0.1")[0]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EDGEMODEL_")},
            "KUBECONFIG": str(kubeconfig),
            "EDGEMODEL_INFERENCE_IMAGE": INFERENCE_IMAGE,
            "EDGEMODEL_COMPRESSION_IMAGE": COMPRESSION_IMAGE,
            "EDGEMODEL_REPOSITORY": REPOSITORY,
            "EDGEMODEL_METRICS_PORT": str(self.port),
            "EDGEMODEL_LOG_FORMAT": "plain",
            # As the containers of one pod: whoever is started again goes on with the Lease.
            "EDGEMODEL_IDENTITY": "tests",
            **settings,
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._child is None:
            raise RuntimeError("the operator is not started")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start the process and wait until it has read the cluster and works."""
        self.launch()
        eventually("the operator to work", self._works, seconds=60, explain=self.log_tail)

    def launch(self) -> None:
        """Start the process, and do not wait."""
        if not self.alive:
            with self.log.open("ab") as log:
                self._child = subprocess.Popen([PROGRAM], env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def stop(self) -> int:
        """SIGTERM, as the kubelet does; answers the exit code."""
        if self._child is None:
            raise RuntimeError("the operator is not started")
        self._child.terminate()
        try:
            return self._child.wait(30)
        finally:
            self.kill()

    def page(self, path: str) -> httpx.Response:
        """One of its own HTTP pages."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)

    def samples(self, name: str) -> dict[str, float]:
        """Values of one metric by its labels as written, such as ``verb="patch",code="200"``."""
        text = self.page("/metrics").text
        return {
            match["labels"] or "": float(match["value"]) for match in _SAMPLE.finditer(text) if match["name"] == name
        }

    def calls(self, *verbs: str) -> int:
        """Requests to the API server with these verbs, since the process started."""
        counts = self.samples("edgemodel_operator_api_requests_total")
        return int(sum(value for labels, value in counts.items() for verb in verbs if f'verb="{verb}"' in labels))

    def wait_for_resync(self) -> None:
        """Wait until every EdgeModel was listed and looked at once more, from begin to end."""
        lists, done = self.calls("get"), self.samples("edgemodel_operator_reconciles_total")
        eventually("a resync", lambda: self.calls("get") >= lists + RESYNC_LISTS, seconds=3 * RESYNC_SECONDS)
        eventually("a reconcile", lambda: self.samples("edgemodel_operator_reconciles_total") != done)

    def writes(self) -> int:
        """Requests that change something. The Lease, which is renewed all the time, is all that is put."""
        return self.calls("post", "patch", "delete")

    @property
    def leads(self) -> bool:
        """Whether it works, and does not wait for another one."""
        return self.samples("edgemodel_operator_leader") == {"": 1.0}

    def signal(self, number: signal.Signals) -> None:
        """Stop the process for a while, or let it go on."""
        os.kill(self.pid, number)

    def settle(self) -> None:
        """Wait until it has written nothing for a second: what earlier tests left behind is done."""
        seen, since = self.writes(), time.monotonic()

        def quiet() -> bool:
            nonlocal seen, since
            now = self.writes()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > 1

        eventually("the operator to be done with everything", quiet)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def wait_until_dead(self, seconds: float = 30) -> None:
        """Wait for the end of a process that something else kills."""
        if self._child is not None:
            self._child.wait(seconds)

    def wait_until_it_waits(self) -> None:
        """Wait until it has read the cluster and leaves the work to another one."""
        eventually("the operator to wait", lambda: self._answers() and not self.leads, explain=self.log_tail)
        eventually("a word about it", lambda: "holds the Lease; " in self.log.read_text(), explain=self.log_tail)

    def _works(self) -> bool:
        return self._answers() and self.leads

    def _answers(self) -> bool:
        assert self._child is not None
        if self._child.poll() is not None:
            raise AssertionError(f"the operator ended with {self._child.returncode}\n{self.log_tail()}")
        try:
            return self.page("/healthz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
            return False
