"""Large batches over several replicas on loopback: parts in order, and peers that fail in every way they can."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from edgemodel_contract.settings import read_settings
from edgemodel_server.access.tls import Certificates
from edgemodel_server.fanout.peers import Address, is_own, lookup_of
from edgemodel_server.http.app import App
from edgemodel_server.http.server import Server, listen
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.model.rows.proof import Proof
from edgemodel_server.model.warm_up import Profile
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.service import Service, load_model
from edgemodel_server.settings import Settings
from tests.unit.server.builders import identity, mlp, write_folder
from tests.unit.server.test_infer import INFER
from tests.unit.server.test_process import running
from tests.unit.server.test_tls import mount, server_pair
from tools.localcluster.native.pki import Authority

ONE = Parallelism(threads=1, workers=1, spinning=False)
ROWS = 7
SLOW = Profile([], {1 << power: 0.2 * (1 << power) for power in range(8)}, Proof(None), rows=2, part=2)
"""As of a model so slow that sharing its batches pays."""


@dataclass
class Replica:
    service: Service
    address: Address

    def sample(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def rows(self) -> float:
        return self.sample("edgemodel_batch_size_sum")

    @property
    def parts(self) -> dict[str, int]:
        found = {
            f"{place} {result}": int(self.sample("edgemodel_parts_total", place=place, result=result))
            for place, result in itertools.product(("local", "peer"), ("ok", "retried"))
        }
        return {name: count for name, count in found.items() if count}


class Neighbours:
    """Starts replicas and others, and ends them with the test."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._numbers = itertools.count()

    async def replica(
        self,
        peers: Sequence[Address] | Callable[[], Awaitable[Sequence[Address]]] | None = None,
        model: onnx.ModelProto | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Replica:
        """A ready server on loopback. ``peers`` are found, or found so; None: it is to look for none."""
        folder = write_folder(self._folder / str(next(self._numbers)), model or mlp())
        settings = read_settings(Settings, {"EDGEMODEL_MODEL_DIR": str(folder), **(env or {})})

        async def found() -> Sequence[Address]:
            assert isinstance(peers, Sequence)
            return peers

        lookup = None if peers is None else peers if callable(peers) else found
        service = Service(settings, ONE, lookup)
        loaded = load_model(settings, ONE)
        service.serve(replace(loaded, profile=replace(SLOW, outputs=loaded.profile.outputs)))
        listener = listen(("127.0.0.1", 0))
        certificates = Certificates(settings.tls_dir) if settings.tls_dir else None
        app = App(service)
        server = Server(app, certificates.context if certificates else None, app.try_inline)
        await server.start(listener)

        async def end() -> None:
            await server.close(0.0)
            service.close()

        self._stack.push_async_callback(end)
        return Replica(service, listener.getsockname())

    async def stranger(self, answer: bytes | None) -> Address:
        """Reads a request and answers it with just that, then closes; None: does not answer."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._stack.callback(server.close)
        address: Address = server.sockets[0].getsockname()
        return address


@pytest.fixture
async def neighbours(tmp_path: Path) -> AsyncIterator[Neighbours]:
    async with AsyncExitStack() as stack:
        yield Neighbours(tmp_path, stack)


@asynccontextmanager
async def client(replica: Replica, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(App(replica.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as made:
        yield made


def rows(count: int = ROWS) -> Array:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def request(array: Array) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}]}


async def infer(replica: Replica, array: Array, **headers: str) -> Array:
    async with client(replica, **headers) as asking:
        answer = await asking.post(INFER, json=request(array))
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def expected(array: Array) -> Array:
    random = np.random.default_rng(0)
    first = random.standard_normal((4, 8)).astype(np.float32)
    result: Array = np.maximum(array @ first, 0) @ random.standard_normal((8, 3)).astype(np.float32)
    return result


async def assert_right(replica: Replica, array: Array | None = None, **headers: str) -> None:
    given = rows() if array is None else array
    np.testing.assert_allclose(await infer(replica, given, **headers), expected(given), rtol=1e-4, atol=1e-5)


async def test_a_large_batch_is_computed_by_all_replicas_in_order(neighbours: Neighbours) -> None:
    second, third = await neighbours.replica(), await neighbours.replica()
    front = await neighbours.replica([second.address, third.address])
    for turn in range(1, 4):
        await assert_right(front)
        assert front.parts == {"local ok": turn, "peer ok": 2 * turn}
    assert (front.rows, second.rows + third.rows) == (9, 12)


async def test_batches_that_are_too_small_stay(neighbours: Neighbours) -> None:
    peer = await neighbours.replica()
    front = await neighbours.replica([peer.address])
    await assert_right(front, rows(3))
    assert front.parts == {}
    await assert_right(front, rows(4))
    assert front.parts == {"local ok": 1, "peer ok": 1}


async def test_a_part_is_not_split_again(neighbours: Neighbours) -> None:
    known: list[Address] = []
    one, other = await neighbours.replica(known), await neighbours.replica(known)
    known += [one.address, other.address]
    await assert_right(one, rows(32))
    # Without a lookup that leaves itself out it is a peer of its own, too: enough that parts could be split for ever.
    assert one.parts == {"local ok": 1, "peer ok": 2}
    assert other.parts == {}


async def test_strings_go_there_and_back(neighbours: Neighbours) -> None:
    model = identity(["BYTES"], ["N", 2])
    peer = await neighbours.replica(model=model)
    front = await neighbours.replica([peer.address], model=model)
    words = [f"Zürich {number}" for number in range(16)]
    tensor = {"name": "in_BYTES", "shape": [8, 2], "datatype": "BYTES", "data": words}
    async with client(front) as asking:
        answer = await asking.post(INFER, json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == words
    assert front.parts == {"local ok": 1, "peer ok": 1}


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def outputs(raw: bytes, name: str = "logits", datatype: str = "FP32", shape: Sequence[int] = (2, 3)) -> bytes:
    """An answer to a part of two rows; by default one that could be right."""
    tensor = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"outputs": [tensor]}).encode()
    return answer(body=header + raw, inference_header_content_length=str(len(header)))


@pytest.mark.parametrize(
    "sent",
    [
        None,
        b"",
        b"\x00\xff garbage \r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nkilled mid-",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 3_000_000,
        answer("503 Service Unavailable", b'{"error":"busy"}'),
        answer("401 Unauthorized"),
        answer("400 Bad Request"),
        answer(),
        answer(body=b"{}", inference_header_content_length="x"),
        answer(body=b"{}", inference_header_content_length="-1"),
        answer(body=b"{}", inference_header_content_length="3"),
        answer(body=b"{}", inference_header_content_length="2"),
        answer(body=b"[]", inference_header_content_length="2"),
        answer(body=b'{"outputs":[1]}', inference_header_content_length="15"),
        outputs(bytes(24), name="other"),
        outputs(bytes(24), datatype="INT32"),
        outputs(bytes(36), shape=(3, 3)),
        outputs(bytes(32), shape=(2, 4)),
        outputs(bytes(23)),
        outputs(bytes(25)),
        outputs(bytes(24), shape=(-2, -3)),
    ],
    ids=lambda sent: repr(sent)[:60],
)
async def test_what_a_peer_fails_at_is_computed_here(neighbours: Neighbours, sent: bytes | None) -> None:
    bad, good = await neighbours.stranger(sent), await neighbours.replica()
    front = await neighbours.replica([bad, good.address], env={"EDGEMODEL_MAX_BODY": "1Mi"})
    await assert_right(front)
    assert front.parts == {"local ok": 1, "local retried": 1, "peer ok": 1}
    if sent is None or b" 400 " not in sent:
        # It is left alone for a time.
        await assert_right(front)
        assert front.parts == {"local ok": 2, "local retried": 1, "peer ok": 2}


async def test_nobody_there_and_a_full_queue_are_no_errors(neighbours: Neighbours) -> None:
    closed = [("127.0.0.1", port) for port in (1, 2, 3, 4, 5)]
    front = await neighbours.replica(closed, env={"EDGEMODEL_QUEUE_LIMIT": "1"})
    await assert_right(front, rows(64))
    assert front.parts == {"local ok": 1, "local retried": 5}


async def test_a_replica_of_another_model_is_no_help(neighbours: Neighbours) -> None:
    peer = await neighbours.replica(model=mlp(seed=1))
    front = await neighbours.replica([peer.address])
    await assert_right(front)
    assert front.parts == {"local ok": 1, "local retried": 1}
    assert peer.rows == 0


async def test_without_an_answer_of_dns_all_is_computed_here(neighbours: Neighbours) -> None:
    async def fails() -> Sequence[Address]:
        raise OSError("no such host")

    async def hangs() -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    async def finds_none() -> Sequence[Address]:
        return []

    for lookup in (fails, hangs, finds_none):
        front = await neighbours.replica(lookup)
        for _ in range(2):
            await assert_right(front)
        assert front.parts == {}


async def test_what_the_client_did_wrong_is_still_its_own_error(neighbours: Neighbours) -> None:
    peer = await neighbours.replica()
    front = await neighbours.replica([peer.address])
    async with client(front) as asking:
        answer = await asking.post(INFER, json=request(np.zeros((8, 5), np.float32)))
    assert answer.status_code == 400
    assert "inputs[0].shape[1] is 5" in answer.json()["error"]


async def test_a_client_that_leaves_takes_its_parts_along(neighbours: Neighbours) -> None:
    came, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        front = await neighbours.replica([server.sockets[0].getsockname()])
        model = front.service.model()
        deadline = asyncio.get_running_loop().time() + 1e6
        work = front.service.submit({"x": rows()}, list(model.signature.outputs), deadline, {})
        async with asyncio.timeout(30):
            await came.wait()
            work.cancel()
            await left.wait()


async def test_the_clients_key_is_shown_to_the_peers(neighbours: Neighbours, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "a").write_text("secret-a")
    (keys / "b").write_text("secret-b")
    env = {"EDGEMODEL_AUTH_DIR": str(keys)}
    peer = await neighbours.replica(env=env)
    front = await neighbours.replica([peer.address], env=env)
    await assert_right(front, Authorization="Bearer secret-b")
    assert front.parts == {"local ok": 1, "peer ok": 1}


async def test_a_key_that_nobody_asked_for_cannot_write_headers(neighbours: Neighbours) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        front = await neighbours.replica([server.sockets[0].getsockname()])
        password = base64.b64encode(b"me:key\r\nx-written: yes").decode()
        await assert_right(front, Authorization=f"Basic {password}")
    assert len(seen) == 1
    assert b"x-written" not in seen[0]


async def test_over_tls_only_a_replica_with_the_same_certificate_is_asked(
    neighbours: Neighbours, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    authority.ensure()
    same = {"EDGEMODEL_TLS_DIR": str(mount(tmp_path / "same", server_pair(authority, "one")))}
    other = {"EDGEMODEL_TLS_DIR": str(mount(tmp_path / "other", server_pair(authority, "other")))}
    friend, stranger, plain = [await neighbours.replica(env=env) for env in (same, other, None)]
    front = await neighbours.replica([friend.address, stranger.address, plain.address], env=same)
    await assert_right(front, rows(8))
    assert front.parts == {"local ok": 1, "peer ok": 1, "local retried": 2}
    assert (friend.rows, stranger.rows, plain.rows) == (2, 0, 0)


async def test_a_machine_is_not_its_own_peer() -> None:
    assert await lookup_of("localhost", 8080)() == []
    family = (await asyncio.get_running_loop().getaddrinfo("192.0.2.1", 0))[0][0]
    assert not is_own(family, "192.0.2.1")


def test_processes_share_and_one_that_is_killed_is_not_missed(tmp_path: Path) -> None:
    # Slow enough that its batches are shared.
    folder = write_folder(tmp_path, mlp(features=64, hidden=16384))
    array = np.random.default_rng(1).standard_normal((2048, 64)).astype(np.float32)
    tensor = {"name": "x", "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}

    def ask(url: str) -> Array:
        reply = httpx.post(f"{url}{INFER}", json={"inputs": [tensor]}, timeout=60)
        assert reply.status_code == 200, reply.text
        return np.array(reply.json()["outputs"][0]["data"], dtype=np.float32)

    env = {"EDGEMODEL_DRAIN": "0s", "EDGEMODEL_THREADS": "1"}
    with running(folder, EDGEMODEL_LISTEN="127.0.0.2:0", **env) as peer:
        alone = ask(peer.url.replace("127.0.0.1", "127.0.0.2"))
        listens = f"127.0.0.1:{peer.ready['port']}"
        with running(folder, EDGEMODEL_LISTEN=listens, EDGEMODEL_PEERS="127.0.0.2", **env) as front:
            np.testing.assert_allclose(ask(front.url), alone, rtol=1e-3, atol=1e-2)
            metrics = httpx.get(f"{front.url}/metrics").text
            assert 'edgemodel_parts_total{place="peer",result="ok"} 1.0' in metrics
            peer.process.kill()
            peer.process.wait()
            np.testing.assert_allclose(ask(front.url), alone, rtol=1e-3, atol=1e-2)
            metrics = httpx.get(f"{front.url}/metrics").text
            assert 'edgemodel_parts_total{place="local",result="retried"} 1.0' in metrics
            assert front.end() == 0
