"""The admin port: health and metrics, whatever happens to the server."""

import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from edgemodel_contract.serving import LIVE_PATH, METRICS_PATH, READY_PATH
from edgemodel_server.admin import channel
from edgemodel_server.admin.responder import MAX_CONNECTIONS, Server
from tests.unit.server.builders import mlp, write_folder
from tests.unit.server.test_process import INFER, Running, running, wait_until

AGE = "edgemodel_metrics_age_seconds"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(write_folder(tmp_path_factory.mktemp("model"), mlp()), EDGEMODEL_DRAIN="0s") as server:
        yield server


def admin(server: Running, path: str) -> str:
    return f"http://127.0.0.1:{server.ready['admin_port']}{path}"


def responder_of(server: Running) -> int:
    """The process that answers on the admin port; it is the server's only child."""
    (child,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(child)


def answers(server: Running, path: str) -> bool:
    try:
        return httpx.get(admin(server, path), timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def age(server: Running) -> float:
    (line,) = [line for line in httpx.get(admin(server, METRICS_PATH)).text.splitlines() if line.startswith(AGE)]
    return float(line.split()[1])


def test_it_has_health_and_metrics_and_nothing_else(server: Running) -> None:
    with httpx.Client() as client:
        assert client.get(admin(server, LIVE_PATH)).json() == {"live": True}
        assert client.get(admin(server, READY_PATH)).json() == {"ready": True}
        metrics = client.get(admin(server, METRICS_PATH))
        assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "edgemodel_ready 1.0" in metrics.text
        assert client.head(admin(server, LIVE_PATH)).text == ""
        missing = client.get(admin(server, "/v2"))
        assert missing.status_code == 404
        assert missing.json() == {"error": f"this port has {LIVE_PATH}, {READY_PATH}, {METRICS_PATH}"}
        assert client.post(admin(server, INFER), json={}).status_code == 501


def test_metrics_are_those_of_now(server: Running) -> None:
    def requests() -> int:
        lines = httpx.get(admin(server, METRICS_PATH)).text.splitlines()
        counts = [line for line in lines if line.startswith("edgemodel_request_duration_seconds_count")]
        return sum(int(float(line.split()[1])) for line in counts)

    before = requests()
    httpx.post(f"{server.url}{INFER}", json={})
    assert requests() == before + 1


def test_what_follows_a_request_with_a_body_is_not_taken_for_another(server: Running) -> None:
    smuggled = f"GET {METRICS_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = f"GET {LIVE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.ready["admin_port"]), timeout=30) as connection:
        connection.sendall(head + smuggled)
        with connection.makefile("rb") as stream:
            assert stream.read().count(b"HTTP/1.1") == 1


def test_a_server_that_is_stuck_is_answered_for(server: Running) -> None:
    httpx.get(admin(server, METRICS_PATH))
    server.process.send_signal(signal.SIGSTOP)
    try:
        for path in (LIVE_PATH, READY_PATH):
            assert httpx.get(admin(server, path)).status_code == 200
        wait_until(lambda: age(server) > 0.5)
        assert "edgemodel_ready 1.0" in httpx.get(admin(server, METRICS_PATH)).text
    finally:
        server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: age(server) < 0.5)


def test_it_comes_back_when_its_process_is_killed(server: Running) -> None:
    before = responder_of(server)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: answers(server, READY_PATH))
    assert responder_of(server) != before


def test_idle_connections_do_not_keep_probes_out(server: Running) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.ready["admin_port"]), timeout=30))
        assert answers(server, READY_PATH)


def test_it_needs_none_of_the_servers_descriptors(tmp_path: Path) -> None:
    with running(write_folder(tmp_path, mlp()), EDGEMODEL_DRAIN="0s") as server, ExitStack() as stack:
        opened = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (opened, opened))
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.ready["port"]), timeout=30))
        assert answers(server, READY_PATH)
        assert answers(server, METRICS_PATH)


def test_one_client_does_not_take_all_connections_and_what_it_closes_is_free_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    with running(folder, EDGEMODEL_DRAIN="0s", EDGEMODEL_MAX_CONNECTIONS="9") as server:
        with ExitStack() as stack:
            for _ in range(6):
                client = stack.enter_context(httpx.Client())
                assert client.get(f"{server.url}{LIVE_PATH}").status_code == 200
            refused = socket.create_connection(("127.0.0.1", server.ready["port"]), timeout=30)
            with refused, refused.makefile("rb") as stream:
                answer = stream.read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"too many connections are open" in answer
        wait_until(lambda: httpx.get(f"{server.url}{LIVE_PATH}").status_code == 200)


def test_it_ends_with_the_server(tmp_path: Path) -> None:
    with running(write_folder(tmp_path, mlp()), EDGEMODEL_DRAIN="0s") as server:
        responder = responder_of(server)
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not Path(f"/proc/{responder}/cmdline").exists() or not is_running(responder))


def is_running(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_readiness_follows_the_server(tmp_path: Path) -> None:
    with running(write_folder(tmp_path, mlp()), EDGEMODEL_DRAIN="60s") as server:
        assert answers(server, READY_PATH)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not answers(server, READY_PATH))
        assert httpx.get(admin(server, READY_PATH)).json() == {"ready": False, "error": "the server is shutting down"}
        assert answers(server, LIVE_PATH)


@pytest.fixture
def heard() -> Iterator[tuple[Callable[[float], Server], socket.socket]]:
    """What a responder knows, by the seconds after which its server hangs; and the server's end of their channel."""
    here, there = socket.socketpair()
    with here, there:
        yield (lambda hangs_after: Server(there, hangs_after)), here


def test_a_server_that_is_silent_for_long_is_not_live(heard: tuple[Callable[[float], Server], socket.socket]) -> None:
    make, _ = heard
    status, answer = make(-1.0).live()
    assert status == 503
    assert "event loop has not run for" in answer["error"]
    assert make(-1.0).ready()[0] == 503
    assert make(60.0).live() == (200, {"live": True})


def test_messages_that_break_off_end_the_responder(heard: tuple[Callable[[float], Server], socket.socket]) -> None:
    make, end = heard
    server = make(60.0)
    state = channel.encode(channel.STATE, json.dumps({"ready": True}).encode())
    end.sendall(state + state[:-1])
    end.shutdown(socket.SHUT_WR)
    with server._connection.makefile("rb") as stream:
        server.listen(stream)
    assert server.ready() == (200, {"ready": True})
