"""The peers: how each is installed, started, and asked. What cannot be installed says why, and the table does too."""

import json
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.bench.report import FOLDER
from tests.bench.serving.models import BenchModel
from tests.bench.serving.processes import Server, free_port, start
from tests.bench.serving.requests import json_request, rows_request
from tools.localcluster.system.paths import cache_dir, locked

SCRIPTS = Path(__file__).parent / "peer_servers"
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class NotInstalledError(Exception):
    """A peer cannot be installed on this Python; the message is pip's last word."""


@dataclass(frozen=True)
class Peer:
    """A server to compare with. ``request`` is for the small model, which all of them serve."""

    name: str
    requirements: tuple[str, ...]
    command: Callable[["Peer", BenchModel, int, int], Sequence[str | Path]]
    request: Callable[[BenchModel], bytes]
    ready: str
    grpc: bool = False

    @property
    def python(self) -> Path:
        """The interpreter of its virtual environment."""
        tag = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cache_dir() / "bench" / f"{self.name}-{tag}" / "bin" / "python"

    def install(self) -> str:
        """Its version; made ready once, then kept in the cache.

        Raises:
            NotInstalledError: pip cannot.
        """
        with locked(f"bench-{self.name}"):
            stamp = self.python.parents[1] / "installed"
            wanted = " ".join((*self.requirements, *_common()))
            if not stamp.exists() or stamp.read_text() != wanted:
                venv.create(self.python.parents[1], clear=True, with_pip=True)
                done = subprocess.run(
                    [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted.split()],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    errors = re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE) or ["pip failed"]
                    raise NotInstalledError(errors[-1])
                stamp.write_text(wanted)
        return self._version()

    def start(self, model: BenchModel, cpus: Sequence[int]) -> Server:
        """Started, with ``model``; one process that computes, one thread for each inference."""
        port, grpc_port = free_port(), free_port()
        env = {**QUIET, "PYTHONPATH": str(SCRIPTS), "BENCH_MODEL": str(model.file)}
        return start(self.command(self, model, port, grpc_port), env, cpus, port, grpc_port)

    def _version(self) -> str:
        package = self.requirements[0].partition("[")[0]
        code = f"from importlib.metadata import version; print(version({package!r}))"
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _common() -> tuple[str, ...]:
    """All run the same ONNX Runtime."""
    return (f"onnxruntime=={version('onnxruntime')}", "numpy")


def _script(name: str) -> Callable[[Peer, BenchModel, int, int], Sequence[str | Path]]:
    def command(peer: Peer, model: BenchModel, port: int, grpc_port: int) -> Sequence[str | Path]:
        return [peer.python, SCRIPTS / name, model.file, str(port), str(grpc_port)]

    return command


def _bentoml(peer: Peer, _model: BenchModel, port: int, _grpc_port: int) -> Sequence[str | Path]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(SCRIPTS)]
    return [peer.python, "-m", "bentoml", "serve", "bentoml_server:Rows", *options]


def _mlserver(peer: Peer, model: BenchModel, port: int, grpc_port: int) -> Sequence[str | Path]:
    folder = FOLDER / "mlserver"
    folder.mkdir(parents=True, exist_ok=True)
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    runtime = {
        "name": model.name,
        "implementation": "mlserver_runtime.Rows",
        "parameters": {"uri": str(model.file)},
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(runtime))
    return [peer.python.with_name("mlserver"), "start", folder]


PEERS = (
    Peer(
        "fastapi",
        ("fastapi", "uvicorn", "uvloop", "httptools"),
        _script("fastapi_server.py"),
        lambda model: rows_request(model, "/predict", "rows"),
        "/ready",
    ),
    Peer(
        "litserve",
        ("litserve",),
        _script("litserve_server.py"),
        lambda model: rows_request(model, "/predict", "rows"),
        "/health",
    ),
    Peer("bentoml", ("bentoml",), _bentoml, lambda model: rows_request(model, "/predict", "rows"), "/readyz"),
    Peer("mlserver", ("mlserver",), _mlserver, json_request, "/v2/health/ready", grpc=True),
    Peer("kserve", ("kserve",), _script("kserve_server.py"), json_request, "/v2/health/ready", grpc=True),
)
