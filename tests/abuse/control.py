"""A trivial server in a process of its own: what its clients wait, the machine is to blame for.

``python -m tests.abuse.control`` prints its port, and ends with its standard input.
"""

import os
import socket
import sys
import threading

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def main() -> None:
    """Answer every connection."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(_OK)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
