"""The nginx of Debian's packages in front of the server, with connections that it keeps for all its clients."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.abuse import packages

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream server {{
        server 127.0.0.1:{upstream};
        # One connection, so that each client comes to the server after the one before it, on the same.
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        location {prefix} {{
            proxy_pass http://server{path};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            # As nginx's own documentation has it for protocols that are upgraded to.
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
        }}
    }}
}}
"""


@contextmanager
def proxying(upstream: int, folder: Path, prefix: str = "/") -> Iterator[int]:
    """The port of an nginx whose only server is ``upstream``; what is below ``prefix`` here is below / there."""
    program = packages.program("nginx", folder)
    port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(folder=folder, upstream=upstream, port=port, prefix=prefix, path="" if prefix == "/" else "/")
    )
    process = subprocess.Popen([program, "-c", str(config), "-e", str(folder / "start.log")])
    try:
        deadline = time.monotonic() + 30
        while not _listens(port):
            assert process.poll() is None, (folder / "start.log").read_text()
            assert time.monotonic() < deadline, "nginx did not begin to listen"
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
