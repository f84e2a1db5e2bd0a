"""The sockets of a port by their other ends."""

import os
import socket
from pathlib import Path

import pytest

from edgemodel_server.grpc.sockets import Sockets


def test_bytes_received_are_told_and_peers_that_have_gone_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    listdir = os.listdir

    def look(path: Path) -> list[str]:
        looked.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", look)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Sockets(listener.getsockname()[1])
        clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
        served = [listener.accept()[0] for _ in clients]
        peers = [f"ipv4:127.0.0.1:{client.getsockname()[1]}" for client in clients]
        for size, client in enumerate(clients):
            client.sendall(b"x" * size)
            served[size].recv(size)
        assert found.received(peers) == {peer: size for size, peer in enumerate(peers)}
        assert len(looked) == 1
        for connection in [*clients[10:], *served[10:]]:
            connection.close()
        for _ in range(3):
            assert found.received(peers) == {peer: size for size, peer in enumerate(peers[:10])}
        assert len(looked) == 2
        assert found.shut(peers[0])
        assert clients[0].recv(1) == b""
        assert not found.shut(peers[10])
        for connection in [*clients, *served]:
            connection.close()


def test_a_descriptor_that_is_another_s_by_now_is_looked_for_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(listener.getsockname())
        served, _ = listener.accept()
        peer = f"ipv4:127.0.0.1:{client.getsockname()[1]}"
        found = Sockets(listener.getsockname()[1])
        assert found.received([peer]) == {peer: 0}
        moved = os.dup(served.fileno())
        with (tmp_path / "file").open("wb") as other:
            os.dup2(other.fileno(), served.fileno())
            before = len(os.listdir("/dev/fd"))  # noqa: PTH208
            assert found.shut(peer)
            assert len(os.listdir("/dev/fd")) == before, "nothing is left open"  # noqa: PTH208
        assert client.recv(1) == b""
        os.close(moved)
        os.close(served.detach())
