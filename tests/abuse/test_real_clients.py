"""Clients that thousands use, unchanged and with their own defaults: each gets its own answers."""

import asyncio
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests

from tests.abuse.frames import message
from tests.abuse.messages import MODEL_INFER, infer_message
from tests.abuse.packages import program
from tests.abuse.server import Target
from tests.abuse.wire import INFER, infer_body

pytestmark = pytest.mark.usefixtures("attack")
CLIENTS = Path(__file__).with_name("clients")
AT_ONCE = 32
"""Fewer than may wait for the model, or the server would refuse some by right."""
TYPE = {"Content-Type": "application/json"}


@pytest.fixture
def url(target: Target) -> str:
    return f"http://127.0.0.1:{target.port}{INFER}"


def run(*command: str) -> str:
    """What it printed. Fails where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("version", ["--http2", "--http1.1", "--http1.0", "--http2-prior-knowledge"])
def test_curl(tmp_path: Path, url: str, version: str) -> None:
    curl = program("curl", tmp_path)
    body = infer_body("curl").decode()
    for extra in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["--compressed"]):
        if version == "--http1.0" and "Transfer-Encoding: chunked" in extra:
            # There are no chunks in HTTP/1.0: curl sends them all the same, and is refused (test_framing).
            continue
        if version == "--http2-prior-knowledge":
            # Whether the port speaks HTTP/2 is for it to say: then right, else not at all.
            command = [curl, "-sS", version, *extra, "-H", "Content-Type: application/json", "-d", body, url]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode != 0 or json.loads(done.stdout)["id"] == "curl"
            continue
        # Two URLs, so that the second request comes over the connection of the first.
        out = run(curl, "-sS", version, *extra, "-H", "Content-Type: application/json", "-d", body, url, url)
        assert out.count('"id":"curl"') == 2, out


def test_curl_without_a_type(tmp_path: Path, url: str) -> None:
    body = infer_body("untyped").decode()
    assert json.loads(run(program("curl", tmp_path), "-sS", "-d", body, url))["id"] == "untyped"


def test_fetch_of_node(tmp_path: Path, url: str) -> None:
    assert run(program("node", tmp_path), str(CLIENTS / "infer.mjs"), url) == "100 answered\n"


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK here: Java's HttpClient is not tried")
def test_http_client_of_java(url: str) -> None:
    java = shutil.which("java")
    assert java
    assert run(java, str(CLIENTS / "Infer.java"), url) == "100 answered\n"


def test_requests(url: str) -> None:
    with requests.Session() as session:
        for number in range(50):
            body = infer_body(f"requests-{number}")
            # A generator is sent in chunks.
            answer = session.post(url, data=body if number % 2 else iter([body]), headers=TYPE, timeout=60)
            assert answer.json()["id"] == f"requests-{number}"


def test_requests_of_threads(url: str) -> None:
    def ask(number: int) -> bool:
        answer = requests.post(url, data=infer_body(f"thread-{number}"), headers=TYPE, timeout=60)
        return bool(answer.json()["id"] == f"thread-{number}")

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


async def test_httpx(url: str) -> None:
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=AT_ONCE)) as client:

        async def ask(number: int) -> bool:
            answer = await client.post(url, content=infer_body(f"httpx-{number}"), headers=TYPE)
            return bool(answer.json()["id"] == f"httpx-{number}")

        assert all(await asyncio.gather(*map(ask, range(200))))


async def test_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def ask(number: int) -> bool:
            async with session.post(url, data=infer_body(f"aiohttp-{number}"), headers=TYPE) as answer:
                return bool((await answer.json())["id"] == f"aiohttp-{number}")

        assert all(await asyncio.gather(*map(ask, range(200))))


@pytest.mark.parametrize("keep", [["-k"], []])
def test_ab(tmp_path: Path, url: str, keep: list[str]) -> None:
    (tmp_path / "body").write_bytes(infer_body("ab"))
    options = ["-q", *keep, "-n", "500", "-c", "8", "-p", str(tmp_path / "body"), "-T", "application/json"]
    out = run(program("ab", tmp_path), *options, url)
    assert re.search(r"Complete requests: +500\n", out), out
    assert re.search(r"Failed requests: +0\n", out), out
    assert "Non-2xx" not in out
    if keep:
        assert re.search(r"Keep-Alive requests: +500\n", out), out


def test_wrk(tmp_path: Path, url: str) -> None:
    script = tmp_path / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [[{infer_body('wrk').decode()}]]\n"
    )
    out = run(program("wrk", tmp_path), "-t1", "-c8", "-d1s", "-s", str(script), url)
    assert "Requests/sec" in out
    assert "Non-2xx" not in out
    assert "Socket errors" not in out


def test_h2load_over_http1(tmp_path: Path, url: str) -> None:
    (tmp_path / "body").write_bytes(infer_body("h2load"))
    h2load = program("h2load", tmp_path)
    out = run(
        h2load,
        "--h1",
        "-n500",
        "-c8",
        "-m1",
        f"--data={tmp_path / 'body'}",
        "-H",
        "Content-Type: application/json",
        url,
    )
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    assert "status codes: 500 2xx" in out


def test_h2load_of_the_grpc_port(tmp_path: Path, target: Target) -> None:
    (tmp_path / "body").write_bytes(message(infer_message("h2load")))
    fields = [option for field in ("content-type: application/grpc", "te: trailers") for option in ("-H", field)]
    out = run(
        program("h2load", tmp_path),
        *("-n500", "-c4", "-m20", f"--data={tmp_path / 'body'}", *fields),
        f"http://127.0.0.1:{target.grpc_port}{MODEL_INFER}",
    )
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    assert "status codes: 500 2xx" in out
