"""Servers as processes, each alone on the same CPU; the load program has another."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.serving.models import BenchModel
from tests.bench.usage import descendants

READY_SECONDS = 90.0
STOP_SECONDS = 30.0
DOCKERFILE = Path(__file__).parents[3] / "inference-image" / "Dockerfile"
LOG = Path(__file__).parents[3] / "build" / "bench" / "servers.log"


@dataclass(frozen=True)
class Cpus:
    """Which CPUs servers and load program have."""

    server: tuple[int, ...]
    load: int


def share_cpus() -> Cpus:
    """The first CPU for servers, the last for the load program, which is this process from now on.

    Raises:
        RuntimeError: there is one CPU only, or no taskset.
    """
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2 or shutil.which("taskset") is None:
        raise RuntimeError("the benchmark needs Linux with two CPUs and taskset: one for servers, one for the load")
    os.sched_setaffinity(0, {found[-1]})
    return Cpus(server=(found[0],), load=found[-1])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """A process that listens."""

    program: str
    process: "subprocess.Popen[bytes]"
    port: int
    grpc_port: int
    started: float
    """By ``time.perf_counter``."""
    host: str = "127.0.0.1"

    @property
    def pid(self) -> int:
        """Of the process; the child of taskset is taskset itself, which became the server."""
        return self.process.pid

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to end and wait; its exit code."""
        self.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    def is_ready(self, path: str) -> bool:
        """Whether ``path`` answers 200."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metric(self, sample: str) -> float:
        """The value of a Prometheus sample, given with its labels; 0 if there is none."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=5) as answer:
            found = re.search(rf"^{re.escape(sample)} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_until_ready(self, path: str = "/v2/health/ready", interval: float = 0.005) -> float:
        """Seconds from the start of the process to the first answer that it is ready.

        Raises:
            RuntimeError: it ended, or took too long.
        """
        while not self.is_ready(path):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.program} ended with {self.process.returncode}; see {LOG}")
            if time.perf_counter() - self.started > READY_SECONDS:
                raise RuntimeError(f"{self.program} was not ready in {READY_SECONDS:.0f} s; see {LOG}")
            time.sleep(interval)
        return time.perf_counter() - self.started


def start(
    command: Sequence[str | Path], env: Mapping[str, str], cpus: Sequence[int], port: int, grpc_port: int
) -> Server:
    """Start ``command`` on ``cpus``, in a process group of its own. It inherits nothing but PATH, HOME and ``env``."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | dict(env)
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", ",".join(map(str, cpus)), *map(str, command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Server(" ".join(map(str, command)), process, port, grpc_port, time.perf_counter())


@contextmanager
def running(server: Server, ready: str = "/v2/health/ready") -> Iterator[Server]:
    """Wait until ``server`` is ready; at the end it and its children are gone."""
    try:
        server.wait_until_ready(ready)
        yield server
    finally:
        family = descendants(server.pid)
        server.stop()
        _signal(family, signal.SIGKILL)


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """Nothing of ``server`` runs, so that what it does while nobody asks it is not at the expense of another."""
    family = descendants(server.pid)
    _signal(family, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def edgemodel(
    model: BenchModel, cpus: Sequence[int], host: str = "127.0.0.1", port: int | None = None, **env: str
) -> Server:
    """Our server, started; with one thread per inference, as all peers have. ``port`` None: one that is free."""
    port, grpc_port = port or free_port(), free_port()
    server = start(
        [Path(sys.executable).with_name("edgemodel-serve")],
        {
            "EDGEMODEL_MODEL_DIR": str(model.folder),
            "EDGEMODEL_LISTEN": f"{host}:{port}",
            "EDGEMODEL_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
            "EDGEMODEL_ADMIN_LISTEN": "off",
            "EDGEMODEL_THREADS": "1",
            "EDGEMODEL_DRAIN": "0s",
            **_image_environment(),
            **env,
        },
        cpus,
        port,
        grpc_port,
    )
    return replace(server, host=host)


def _image_environment() -> dict[str, str]:
    """What the image sets for the C library: it is a part of how the server is run."""
    return dict(re.findall(r"(MALLOC_\w+)=(\w+)", DOCKERFILE.read_text()))
