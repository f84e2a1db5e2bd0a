"""A stand-in for the Hugging Face hub that its own client takes for one: API, files, and a CDN on another port for
large files. `test_hub.py` has ``huggingface_hub`` download from it, so what ours is tested against is the protocol.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """``repositories`` are files by name, by ``models/org/name`` or ``datasets/org/name``; with ``large`` names kept
    as LFS files, which another server delivers. ``seen`` are (server, path, Authorization) of all requests.
    """

    url: str = ""
    cdn: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    token: str = ""
    damaged: bool = False
    """The CDN delivers other bytes than were stored."""
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def listing(self, repository: str) -> dict[str, Any]:
        """What ``/api/<repository>/revision/<revision>?blobs=true`` answers."""
        files = self.repositories[repository]
        return {
            "id": repository.partition("/")[2],
            "sha": COMMIT,
            "siblings": [{"rfilename": name, **self._blob(name, data)} for name, data in files.items()],
        }

    def _blob(self, name: str, data: bytes) -> dict[str, Any]:
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {"blobId": _blob_id(data), "size": len(data), **({"lfs": lfs} if name in self.large else {})}


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """The two servers on free ports, in threads."""
    hub = HubServer()
    front, back = _serve(_Front, hub), _serve(_Cdn, hub)
    hub.url = f"http://127.0.0.1:{front.server_address[1]}"
    # Another host, so that what is meant for one is not sent to the other.
    hub.cdn = f"http://localhost:{back.server_address[1]}"
    try:
        yield hub
    finally:
        for server in (front, back):
            server.shutdown()
            server.server_close()


def _serve(handler: type["_Handler"], hub: HubServer) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), {"hub": hub}))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    name = ""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.name, path, self.headers.get("Authorization", "")))
        self.answer(path)

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # the client has heard enough
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class _Front(_Handler):
    name = "hub"

    def answer(self, path: str) -> None:
        hub = self.hub
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.reply(401, b'{"error":"Invalid username or password."}', X_Error_Code="RepoNotFound")
            return
        for repository, files in hub.repositories.items():
            if path.startswith(f"/api/{repository}/revision/"):
                revision = path.rpartition("/revision/")[2]
                if revision not in ("main", "v1", "refs/pr/1", COMMIT):
                    self.reply(404, b'{"error":"Invalid rev id"}', X_Error_Code="RevisionNotFound")
                    return
                self.reply(200, json.dumps(hub.listing(repository)).encode(), Content_Type="application/json")
                return
            if path.startswith(f"/api/{repository}/tree/"):
                self.reply(200, json.dumps(self._tree(repository)).encode(), Content_Type="application/json")
                return
            start = f"/{repository.removeprefix('models/')}/resolve/{COMMIT}/"
            if path.startswith(start) and path.removeprefix(start) in files:
                self._file(path.removeprefix(start), files[path.removeprefix(start)])
                return
        self.reply(401, b'{"error":"Repository not found"}', X_Error_Code="RepoNotFound")

    def _tree(self, repository: str) -> list[dict[str, Any]]:
        siblings = self.hub.listing(repository)["siblings"]
        return [
            {
                "type": "file",
                "path": item["rfilename"],
                "size": item["size"],
                "oid": item["blobId"],
                **({"lfs": {"oid": item["lfs"]["sha256"], **item["lfs"]}} if "lfs" in item else {}),
            }
            for item in siblings
        ]

    def _file(self, name: str, data: bytes) -> None:
        if name in self.hub.large:
            digest = hashlib.sha256(data).hexdigest()
            self.reply(
                302,
                Location=f"{self.hub.cdn}/{digest}",
                X_Repo_Commit=COMMIT,
                X_Linked_Etag=f'"{digest}"',
                X_Linked_Size=str(len(data)),
            )
        else:
            self.reply(200, data, X_Repo_Commit=COMMIT, ETag=f'"{_blob_id(data)}"')


class _Cdn(_Handler):
    name = "cdn"

    def answer(self, path: str) -> None:
        for files in self.hub.repositories.values():
            for data in files.values():
                if path == f"/{hashlib.sha256(data).hexdigest()}":
                    self.reply(200, data[::-1] if self.hub.damaged else data, ETag=f'"{path[1:]}"')
                    return
        self.reply(403)
