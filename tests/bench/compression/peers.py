"""The peers: what each is asked to do, in a virtual environment that all of them share."""

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgemodel_contract.task import Recovery
from tests.bench.compression.models import Prepared
from tests.bench.compression.processes import ToolError, run
from tools.localcluster.system.paths import cache_dir, locked

SCRIPTS = Path(__file__).parent / "peer_scripts"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Peer:
    """A program in ``peer_scripts`` with its options."""

    name: str
    script: str
    options: tuple[str, ...] = ()
    trains: bool = False
    """It starts from torch, and trains for as many epochs as our recovery does."""
    left_out: tuple[str, ...] = ()
    """Rows that it is not for."""

    def compress(self, python: Path, prepared: Prepared, folder: Path) -> tuple[Path, float]:
        """The model it makes in ``folder``, and the seconds of its process.

        Raises:
            ToolError: it could not.
        """
        out = folder / f"{self.name}.onnx"
        options = list(self.options)
        if self.trains:
            options += ["--network", prepared.row.name, "--weights", str(prepared.weights)]
            options += ["--epochs", str(Recovery().epochs)]
        if self.script.startswith("nncf") and prepared.row.transformer:
            options.append("--transformer")
        command: list[str | Path] = [python, SCRIPTS / self.script, prepared.model, prepared.dataset, out, *options]
        done = run(command, folder / f"{self.name}.log", ROOT)
        answer = json.loads(done.output.splitlines()[-1])
        return Path(answer["file"]), done.seconds


PEERS = (
    Peer("ort-static", "ort.py"),
    Peer("ort-static-tuned", "ort.py", ("--tuned",)),
    Peer("ort-dynamic", "ort.py", ("--dynamic",)),
    Peer("nncf", "nncf_quantize.py"),
    # On BERT-base it tries groups of 87 operators in floats, one after the other; each time it copies the model, loads
    # it and runs it on all that validates. After eleven minutes it had tried 24 groups, and changed nothing yet.
    Peer("nncf-accuracy", "nncf_quantize.py", ("--accuracy-control",), left_out=("bert-base",)),
    # Random weights, of which only the last layer was fitted, learn from the labels what the model never knew.
    Peer("torch-pruning", "torch_prune.py", trains=True, left_out=("resnet18-224", "bert-base")),
)


def requirements() -> tuple[str, ...]:
    """What pip is to install: the peers, and this project's versions of what they share."""
    torch = version("torch").partition("+")[0]
    same = (f"{name}=={version(name)}" for name in ("onnxruntime", "onnxscript", "scikit-learn", "pillow"))
    return ("nncf>=3.4,<4", "torch-pruning>=1.6,<2", f"torch=={torch}", *same)


def install() -> Path:
    """The interpreter of the peers' virtual environment; made ready once, then kept in the cache.

    Raises:
        ToolError: pip cannot.
    """
    tag = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_dir() / "bench" / f"compression-{tag}"
    stamp, python = folder / "installed", folder / "bin" / "python"
    wanted = requirements()
    with locked("bench-compression"):
        if not stamp.exists() or stamp.read_text().split() != list(wanted):
            venv.create(folder, clear=True, with_pip=True)
            _pip(python, "install", *wanted)
            # NNCF works without it, and then nothing calls home.
            _pip(python, "uninstall", "--yes", "openvino-telemetry")
            stamp.write_text("\n".join(wanted) + "\n")
    return python


def _pip(python: Path, action: str, *words: str) -> None:
    command: list[str | Path] = [python, "-m", "pip", action, "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["ERROR: pip failed"]
        raise ToolError(errors[-1].removeprefix("ERROR:").strip())
