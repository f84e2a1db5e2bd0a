"""Connections of attackers to the server."""

from __future__ import annotations

import socket
import sys

ADDRESS = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
"""Where attacks come from. The server tells clients without keys apart by their addresses, and the neighbours have
127.0.0.1, so that what an attacker has used up is not theirs. Only Linux has a second address without being asked."""
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of Linux (``socket`` names it from Python 3.12 on)."""


def connect(port: int, seconds: float, receive_buffer: int | None = None) -> socket.socket:
    """A connection to ``port`` of this machine, on which each operation may take ``seconds``. ``receive_buffer``: bytes
    that are taken from the server before they are read."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if sys.platform == "linux":
        # Ports are chosen when connecting: else those of connections that ended a moment ago could not be had again.
        client.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    client.bind((ADDRESS, 0))
    client.settimeout(seconds)
    client.connect(("127.0.0.1", port))
    return client
