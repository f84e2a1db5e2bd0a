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
