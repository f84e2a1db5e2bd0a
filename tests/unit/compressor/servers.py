"""Real servers on free ports: the distribution registry, with or without login and TLS, and a small web server."""

import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from tools.localcluster.programs import packages
from tools.localcluster.system.progress import Progress

USER, PASSWORD = "pusher", "correct-horse"
HTPASSWD = "pusher:$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS\n"
"""What ``htpasswd -nbB pusher correct-horse`` prints."""
DEADLINE = 20.0
HTTP = httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)
"""Talks to open registries without TLS: it trusts no certificate, so it does not read a thousand of them."""


def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class RunningRegistry:
    """A registry at ``host`` (``127.0.0.1:port``), reached by ``url``."""

    host: str
    url: str
    storage: Path


@contextmanager
def docker_registry(folder: Path, extra: str = "", tls: "Certificate | None" = None) -> Iterator[RunningRegistry]:
    """Run docker-registry with its data in ``folder``; ``extra`` is more of its YAML configuration."""
    binary = shutil.which("docker-registry")
    if binary is None:
        packages.require_debian_root()
        packages.install(["docker-registry", "openssl"], Progress(), folder / "packages.log")
        binary = shutil.which("docker-registry")
    assert binary
    port = free_port()
    storage = folder / "storage"
    http = f"http:\n  addr: 127.0.0.1:{port}\n"
    if tls:
        http += f"  tls:\n    certificate: {tls.certificate}\n    key: {tls.key}\n"
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"
        f"storage:\n  delete:\n    enabled: true\n  filesystem:\n    rootdirectory: {storage}\n{http}{extra}"
    )
    log = folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, "serve", str(config)], stdout=output, stderr=output)
    host = f"127.0.0.1:{port}"
    try:
        _wait_for_port(port, process, log)
        yield RunningRegistry(host, f"{'https' if tls else 'http'}://{host}", storage)
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE)


def _wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"docker-registry did not start: {log.read_text()}")


@dataclass(frozen=True)
class Certificate:
    """PEM files: a server's certificate and key, and the CA that signed it."""

    certificate: Path
    key: Path
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """A private CA, and a certificate for 127.0.0.1 signed by it."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.crt", folder / "ca.key"
    certificate, key, request = folder / "server.crt", folder / "server.key", folder / "server.csr"
    extensions = folder / "extensions.cnf"
    extensions.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n")
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    _openssl(
        *("req", "-x509", "-sha256", "-days", "2", *new_key, "-keyout", str(ca_key), "-out", str(ca)),
        *("-subj", "/CN=test CA", "-addext", "keyUsage=critical,keyCertSign"),
    )
    _openssl("req", *new_key, "-keyout", str(key), "-out", str(request), "-subj", "/CN=127.0.0.1")
    _openssl(
        *("x509", "-req", "-sha256", "-days", "2", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key)),
        *("-CAcreateserial", "-extfile", str(extensions), "-out", str(certificate)),
    )
    return Certificate(certificate, key, ca)


def _openssl(*arguments: str, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class WebServer:
    """Answers GET by path with a function of yours; remembers what it was asked."""

    url: str
    replies: dict[str, Reply] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def file(self, path: str, content: bytes, etag: str = "") -> str:
        """Serve ``content`` at ``path``, with ranges if it has an ``etag``; returns its URL."""

        def reply(request: BaseHTTPRequestHandler) -> None:
            start = 0
            wanted = request.headers.get("Range", "")
            if etag and wanted and request.headers.get("If-Range") == etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            request.send_response(206 if start else 200)
            if start:
                request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if etag:
                request.send_header("ETag", etag)
            request.send_header("Content-Length", str(len(content) - start))
            request.end_headers()
            request.wfile.write(content[start:])

        return self.on(path, reply)

    def status(self, path: str, code: int, headers: dict[str, str] | None = None) -> str:
        """Answer ``path`` with a bare status; returns its URL."""

        def reply(request: BaseHTTPRequestHandler) -> None:
            request.send_response(code)
            for name, value in (headers or {}).items():
                request.send_header(name, value)
            request.send_header("Content-Length", "0")
            request.end_headers()

        return self.on(path, reply)

    def on(self, path: str, reply: Reply) -> str:
        """Answer ``path`` with ``reply``; returns its URL."""
        self.replies[path] = reply
        return self.url + path


@contextmanager
def web_server(tls: Certificate | None = None) -> Iterator[WebServer]:
    """A web server on a free port, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            served.seen.append((self.path, dict(self.headers)))
            self.close_connection = True
            reply = served.replies.get(path)
            if reply is None:
                self.send_error(404)
            else:
                reply(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if tls else "http"
    served = WebServer(f"{scheme}://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class TokenServer:
    """Issues bearer tokens that a registry with ``certificate`` as its root trusts."""

    web: WebServer
    certificate: Path
    key: Path
    scopes: list[list[str]] = field(default_factory=list)

    @property
    def registry_config(self) -> str:
        """YAML for ``docker_registry``."""
        return (
            f"auth:\n  token:\n    realm: {self.web.url}/token\n    service: test-registry\n"
            f"    issuer: test-issuer\n    rootcertbundle: {self.certificate}\n"
        )

    def reply(self, request: BaseHTTPRequestHandler) -> None:
        """Check the login, and grant what is asked for."""
        query = parse_qs(urlsplit(request.path).query)
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            request.send_error(401)
            return
        scopes = query.get("scope", [])
        self.scopes.append(scopes)
        body = json.dumps({"token": self._token(query["service"][0], scopes)}).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _token(self, service: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "test-issuer",
            "sub": USER,
            "aud": service,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": access,
        }
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        signature = _openssl("dgst", "-sha256", "-sign", str(self.key), data=signed.encode())
        return f"{signed}.{_b64(signature)}"


@contextmanager
def token_server(folder: Path) -> Iterator[TokenServer]:
    """A token server with a signing key of its own."""
    certificate, key = folder / "token.crt", folder / "token.key"
    _openssl(
        *("req", "-x509", "-sha256", "-days", "2", "-newkey", "rsa:2048", "-nodes"),
        *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=token"),
    )
    with web_server() as web:
        server = TokenServer(web, certificate, key)
        web.on("/token", server.reply)
        yield server


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def put_blob(url: str, repository: str, data: bytes, digest: str) -> None:
    """Upload a blob to an open registry."""
    started = HTTP.post(f"{url}/v2/{repository}/blobs/uploads/").raise_for_status()
    location = httpx.URL(started.headers["location"]).copy_add_param("digest", digest)
    HTTP.put(location, content=data).raise_for_status()


def put_manifest(url: str, repository: str, target: str, media_type: str, data: bytes) -> None:
    """Upload a manifest to an open registry."""
    headers = {"Content-Type": media_type}
    HTTP.put(f"{url}/v2/{repository}/manifests/{target}", content=data, headers=headers).raise_for_status()
