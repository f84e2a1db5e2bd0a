"""The real program: its start, its refusals and its end, over real sockets."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.unit.server.builders import brighter_side, countdown, mlp, write_folder
from tests.unit.server.test_predict import picture

INFER = "/v2/models/digits/infer"
DEADLINE = 30.0


class Running(NamedTuple):
    process: "subprocess.Popen[str]"
    url: str
    ready: dict[str, Any]
    """What it logged when it became ready."""

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def command(folder: Path, **env: str) -> tuple[list[str], dict[str, str]]:
    """The program without HOME or any other variable, which a container may not have either."""
    script = Path(sys.executable).with_name("edgemodel-serve")
    return [str(script)], {
        "EDGEMODEL_MODEL_DIR": str(folder),
        "EDGEMODEL_LISTEN": "127.0.0.1:0",
        "EDGEMODEL_GRPC_LISTEN": "127.0.0.1:0",
        "EDGEMODEL_ADMIN_LISTEN": "127.0.0.1:0",
        **env,
    }


@contextmanager
def running(folder: Path, **env: str) -> Iterator[Running]:
    arguments, environment = command(folder, **env)
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        line = process.stderr.readline()
        assert line.startswith("{"), line
        ready = json.loads(line)
        yield Running(process, f"http://127.0.0.1:{ready['port']}", ready)
    finally:
        process.kill()
        process.communicate()


def failure(folder: Path, **env: str) -> tuple[int, str]:
    arguments, environment = command(folder, **env)
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    return done.returncode, done.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/v2/health/ready").status_code == 200


def count(turns: int) -> dict[str, Any]:
    return {"inputs": [{"name": "count", "shape": [1], "datatype": "INT64", "data": [turns]}]}


def test_it_starts_says_what_it_serves_and_ends_cleanly(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, brighter_side(), name="sides")
    with running(folder, EDGEMODEL_DRAIN="0s", EDGEMODEL_THREADS="1") as server:
        assert server.ready["message"] == "ready"
        assert server.ready["model"] == "sides"
        assert server.ready["digest"].startswith("sha256:")
        assert server.ready["threads"] == 1
        assert server.ready["seconds"] > 0
        assert is_ready(server.url)
        answer = httpx.post(f"{server.url}/predict", files={"image": ("x.png", picture())})
        assert answer.json()["label"] == "1"
        assert server.end() == 0


def test_it_writes_nothing_and_calls_nobody(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", brighter_side())
    home = tmp_path / "home"
    home.mkdir()
    with running(folder, HOME=str(home), EDGEMODEL_DRAIN="0s") as server:
        large = picture((2000, 1000), kind="BMP")
        answer = httpx.post(f"{server.url}/predict", files={"image": ("x.bmp", large)})
        assert answer.status_code == 200
        process = Path(f"/proc/{server.process.pid}")
        opened = []
        for file in (process / "fd").iterdir():
            # A descriptor may have been closed since it was listed.
            with suppress(FileNotFoundError):
                opened.append(str(file.readlink()))
        assert [file for file in opened if file.startswith("/") and not file.startswith("/dev/")] == []
        assert server.end() == 0
    assert list(home.iterdir()) == []
    assert sorted(file.name for file in folder.iterdir()) == ["card.json", "model.onnx"]


def test_a_changed_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    status, message = failure(folder)
    assert status == 2
    assert "model.onnx has digest sha256:" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("env", "status", "expected"),
    [
        ({"EDGEMODEL_MODEL_DIR": "/nowhere"}, 2, "cannot read the model card /nowhere/card.json"),
        ({"EDGEMODEL_THREADS": "many"}, 2, "EDGEMODEL_THREADS is 'many'"),
        ({"EDGEMODEL_LISTEN": "203.0.113.1:1"}, 1, "cannot listen on 203.0.113.1:1"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
                "OTEL_BSP_MAX_QUEUE_SIZE": "1",
            },
            2,
            "one of the OTEL_… variables cannot be used: max_export_batch_size must be",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    tmp_path: Path, env: dict[str, str], status: int, expected: str
) -> None:
    actual, message = failure(write_folder(tmp_path, mlp()), **env)
    assert actual == status
    assert expected in message
    assert message.count("\n") == 1


def test_help_documents_every_setting() -> None:
    arguments, environment = command(Path("/nowhere"))
    text = subprocess.run([*arguments, "--help"], env=environment, capture_output=True, text=True, check=True).stdout
    assert "EDGEMODEL_DRAIN (default 5s)" in text
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in text


def test_the_access_log_is_off_unless_asked_for(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    for env, lines in (({}, 0), ({"EDGEMODEL_ACCESS_LOG": "true"}, 1)):
        with running(folder, EDGEMODEL_DRAIN="0s", **env) as server:
            assert is_ready(server.url)
            assert server.end() == 0
            assert server.process.stderr
            logged = [json.loads(line) for line in server.process.stderr]
            assert (
                len([line for line in logged if line["logger"] == "edgemodel_server.observability.access_log"]) == lines
            )


class Load:
    """Clients that send one request after the other, each over a connection it keeps, and count what they get."""

    def __init__(self, url: str, clients: int, turns: int) -> None:
        self.answered = 0
        self.errors: list[str] = []
        self._url, self._turns = url, turns
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=DEADLINE) as client:
            while not self._stop.is_set():
                try:
                    response = client.post(INFER, json=count(self._turns))
                except httpx.ConnectError:
                    # Refused before it was accepted: a proxy would send it to another server.
                    return
                except httpx.HTTPError as error:
                    self.errors.append(repr(error))
                    return
                with self._lock:
                    self.answered += 1
                if response.status_code != 200 or response.json()["outputs"][0]["data"] != [self._turns]:
                    self.errors.append(response.text)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)


def test_while_draining_it_is_not_ready_but_serves_new_connections(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, countdown())
    with running(folder, EDGEMODEL_DRAIN="1h") as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(server.url))
        response = httpx.post(f"{server.url}{INFER}", json=count(5))
        assert response.json()["outputs"][0]["data"] == [5]
        assert response.headers["connection"] == "close"


def test_sigterm_under_load_drops_no_request(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, countdown())
    # While draining every answer closes its connection, so many new ones are on their way when the listener closes.
    with running(folder, EDGEMODEL_DRAIN="300ms") as server:
        load = Load(server.url, clients=12, turns=50)
        try:
            wait_until(lambda: load.answered > 50)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE) == 0
        finally:
            load.stop()
        assert load.errors == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


def test_requests_in_flight_when_the_listener_closes_are_answered(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, countdown())
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        answers: list[httpx.Response] = []
        # Together they take several times as long as idle connections are kept open after the listener closed.
        turns = 400_000
        threads = [
            threading.Thread(
                target=lambda: answers.append(httpx.post(f"{server.url}{INFER}", json=count(turns), timeout=DEADLINE))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: "edgemodel_requests_in_flight 4.0" in httpx.get(f"{server.url}/metrics").text)
        assert server.end() == 0
        for thread in threads:
            thread.join(DEADLINE)
        assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[turns]] * 4


def test_a_request_that_meets_the_closing_listener_in_an_open_connection_is_answered(tmp_path: Path) -> None:
    def is_refused() -> bool:
        try:
            httpx.get(server.url)
        except httpx.TransportError:
            return True
        return False

    folder = write_folder(tmp_path, mlp())
    with (
        running(folder, EDGEMODEL_DRAIN="0s") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        client.get("/v2")
        server.process.send_signal(signal.SIGTERM)
        wait_until(is_refused)
        # A new connection would be refused, so this answer comes over the old one.
        assert client.get("/v2").status_code == 200
        assert server.process.wait(DEADLINE) == 0


def test_an_idle_connection_does_not_hold_the_process(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    with (
        running(folder, EDGEMODEL_DRAIN="0s") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        client.get("/v2")
        assert server.end() == 0


def test_a_second_signal_ends_the_drain(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    with running(folder, EDGEMODEL_DRAIN="1h") as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not is_ready(server.url))
        assert server.end() == 0


def test_interrupt_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    with running(folder, EDGEMODEL_DRAIN="1h") as server:
        assert server.end(signal.SIGINT) == 0
