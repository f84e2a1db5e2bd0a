"""The program as a process: signals, temporary files, what it imports, what it leaves on stdout."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edgemodel_contract.encoding import encode
from edgemodel_contract.result import Failure, decode_result
from edgemodel_contract.task import RegistryAccess, Source, Task
from tests.unit.compressor import images
from tests.unit.compressor.servers import RunningRegistry, WebServer

DEADLINE = 30.0


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "edgemodel_compressor", *(str(word) for word in words)]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Scratch space in ``scratch``, no pauses between attempts."""
    (tmp_path / "scratch").mkdir()
    return {
        **os.environ,
        "TMPDIR": str(tmp_path / "scratch"),
        "EDGEMODEL_TERMINATION_LOG": str(tmp_path / "log"),
        "EDGEMODEL_RETRY_DELAY": "1ms",
    }


def hang(web: WebServer, released: threading.Event) -> str:
    """A model that never ends."""

    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        request.wfile.write(b"x" * 1000)
        request.wfile.flush()
        released.wait(DEADLINE)

    return web.on("/model.onnx", reply)


@pytest.mark.parametrize("variable", ["TMPDIR", "EDGEMODEL_WORK_DIR"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_and_leaves_nothing(
    tmp_path: Path,
    environment: dict[str, str],
    registry: RunningRegistry,
    web: WebServer,
    variable: str,
    number: signal.Signals,
    code: int,
) -> None:
    environment[variable] = environment.pop("TMPDIR")
    images.push_base(registry)
    released = threading.Event()
    task = Task(
        name="digits",
        model=Source(uri=hang(web, released)),
        base_image=f"{registry.host}/base/server:v1",
        repository=f"{registry.host}/models/signalled",
        engine="e",
    )
    (tmp_path / "task.json").write_bytes(encode(task))
    (tmp_path / "registries.json").write_bytes(encode(RegistryAccess(insecure=(registry.host,))))
    process = subprocess.Popen(
        command("--task", tmp_path / "task.json"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts background jobs with SIGINT ignored, and so would be all that the tests start from there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: bool(web.seen) and any((tmp_path / "scratch").rglob("source")))
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE)
    finally:
        released.set()
        process.kill()
    assert process.returncode == code
    assert b"Traceback" not in errors
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "log").exists()


def test_a_bad_task_is_told_on_stdout_in_the_log_and_by_the_exit_code(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "task.json").write_text(json.dumps({"name": 3}))
    done = subprocess.run(command("--task", tmp_path / "task.json"), env=environment, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stderr == b""
    result = decode_result((tmp_path / "log").read_text())
    assert isinstance(result, Failure)
    assert result.reason == "InvalidTask"
    assert done.stdout.decode().splitlines()[-1] == (tmp_path / "log").read_text()


def test_the_termination_log_may_be_named_as_an_option(tmp_path: Path, environment: dict[str, str]) -> None:
    words = ("--task", tmp_path / "none.json", "--termination-log", tmp_path / "elsewhere")
    assert subprocess.run(command(*words), env=environment, capture_output=True, check=False).returncode == 2
    assert "cannot be read" in (tmp_path / "elsewhere").read_text()
    assert not (tmp_path / "log").exists()


def test_a_setting_that_cannot_be_read_is_named(environment: dict[str, str]) -> None:
    environment["EDGEMODEL_MAX_DOWNLOAD"] = "lots"
    done = subprocess.run(command("m.onnx", "-o", "out"), env=environment, capture_output=True, check=False)
    assert (done.returncode, b"EDGEMODEL_MAX_DOWNLOAD" in done.stderr) == (2, True)
    assert b"Traceback" not in done.stderr


def test_help_answers_without_loading_the_model_libraries(environment: dict[str, str]) -> None:
    script = (
        "import sys, edgemodel_compressor.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'onnxruntime' not in sys.modules and 'onnx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"--max-accuracy-drop" in done.stdout


def test_telemetry_is_off_before_onnx_runtime_is_loaded(environment: dict[str, str]) -> None:
    """At the very first import of ONNX Runtime, from whichever module, the switch is set; and torch is never loaded."""
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    script = (
        "import importlib.abc, os, sys\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'onnxruntime': print('switch', os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import edgemodel_compressor.cli.commandline\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.stdout.decode().split() == ["switch", "1"]
