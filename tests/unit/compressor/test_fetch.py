"""Sources: what arrives, what is refused, and what each failure says."""

import hashlib
import json
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.fetcher import Fetched, Fetcher, job_fetcher
from edgemodel_compressor.fetch.folder import folder_digest
from edgemodel_compressor.fetch.source import public_uri
from edgemodel_compressor.progress import Span
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import RegistryAccess, Source
from tests.unit.compressor import images
from tests.unit.compressor.servers import Certificate, RunningRegistry, WebServer, free_port, web_server

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


@pytest.fixture
def fetcher(settings: Settings, registry: RunningRegistry) -> Fetcher:
    return job_fetcher(settings, RegistryAccess(insecure=(registry.host,)), "linux/amd64")


def get(fetcher: Fetcher, uri: str, target: Path, secret: bool = False, sha256: str | None = None) -> Fetched:
    return fetcher.fetch(Source(uri=uri, secret=secret, sha256=sha256), "model", target, Span(lambda _: None))


def fail(fetcher: Fetcher, uri: str, target: Path, secret: bool = False) -> TaskError:
    with pytest.raises(TaskError) as caught:
        get(fetcher, uri, target, secret)
    return caught.value


def test_a_file_arrives_with_its_digest(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    fetched = get(fetcher, web.file("/model.onnx", CONTENT), target)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("written", [str.lower, str.upper, lambda text: f"sha256:{text}"])
def test_the_expected_digest_may_be_written_in_several_ways(
    fetcher: Fetcher, web: WebServer, target: Path, written: object
) -> None:
    expected = written(hashlib.sha256(CONTENT).hexdigest())  # type: ignore[operator]
    assert get(fetcher, web.file("/model.onnx", CONTENT), target, sha256=expected)


def test_another_digest_than_expected_is_a_mismatch(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    with pytest.raises(TaskError, match=hashlib.sha256(CONTENT).hexdigest()) as caught:
        get(fetcher, web.file("/model.onnx", CONTENT), target, sha256="1" * 64)
    assert caught.value.reason == "ChecksumMismatch"


@pytest.mark.parametrize(
    ("status", "reason", "asked"),
    [
        (404, "SourceNotFound", 1),
        (410, "SourceNotFound", 1),
        (401, "SourceUnauthorized", 1),
        (403, "SourceUnauthorized", 1),
        (400, "SourceUnavailable", 1),
        (500, "SourceUnavailable", 4),
        (503, "SourceUnavailable", 4),
        (429, "SourceUnavailable", 4),
    ],
)
def test_a_status_becomes_a_reason_and_only_passing_trouble_is_tried_again(
    fetcher: Fetcher, web: WebServer, target: Path, status: int, reason: str, asked: int
) -> None:
    error = fail(fetcher, web.status("/model.onnx", status), target)
    assert error.reason == reason
    assert "/model.onnx" in error.message
    assert len(web.seen) == asked


def test_a_server_that_is_not_there_is_unavailable(fetcher: Fetcher, target: Path) -> None:
    error = fail(fetcher, f"http://127.0.0.1:{free_port()}/model.onnx", target)
    assert error.reason == "SourceUnavailable"


def _breaking(web: WebServer, path: str, etag: str | None) -> str:
    """A server that breaks off in the middle, once, and then honours ranges if it names its version."""
    url = web.file("/whole", CONTENT, etag or "")
    broken = threading.Event()

    def reply(request: BaseHTTPRequestHandler) -> None:
        if broken.is_set():
            web.replies["/whole"](request)
            return
        broken.set()
        request.send_response(200)
        if etag:
            request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:5000])

    web.on(path, reply)
    return url.replace("/whole", path)


def test_a_broken_download_goes_on_where_it_stopped(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    assert get(fetcher, _breaking(web, "/m.onnx", '"v1"'), target).path.read_bytes() == CONTENT
    assert web.seen[-1][1]["Range"] == "bytes=5000-"


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_version_it_starts_over(
    fetcher: Fetcher, web: WebServer, target: Path, etag: str | None
) -> None:
    assert get(fetcher, _breaking(web, "/m.onnx", etag), target).path.read_bytes() == CONTENT
    assert "Range" not in web.seen[-1][1]


def test_a_file_that_is_announced_too_large_is_not_read(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    small = replace(fetcher, settings=replace(fetcher.settings, max_download=1000))
    assert fail(small, web.file("/model.onnx", CONTENT), target).reason == "SourceTooLarge"
    assert target.stat().st_size == 0


def test_an_endless_file_is_cut_off(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"x" * 4096)
        except OSError:
            return

    small = replace(fetcher, settings=replace(fetcher.settings, max_download=100_000))
    assert fail(small, web.on("/model.onnx", endless), target).reason == "SourceTooLarge"
    assert target.stat().st_size <= 100_000


def test_a_server_that_falls_silent_is_given_up(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    done = threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "10")
        request.end_headers()
        request.wfile.flush()
        done.wait(30)

    hasty = replace(fetcher, settings=replace(fetcher.settings, read_timeout=0.05, retry_attempts=2))
    try:
        assert fail(hasty, web.on("/model.onnx", silent), target).reason == "SourceUnavailable"
    finally:
        done.set()


def test_a_download_has_an_end_in_time(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    late = replace(fetcher, settings=replace(fetcher.settings, fetch_timeout=0.0))
    error = fail(late, web.file("/model.onnx", CONTENT), target)
    assert (error.reason, "time allowed" in error.message) == ("SourceUnavailable", True)


def test_a_redirect_loop_is_unavailable(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    url = web.status("/loop", 302, {"Location": "/loop"})
    assert fail(fetcher, url, target).reason == "SourceUnavailable"


def test_https_is_not_left_for_http(settings: Settings, web: WebServer, target: Path, certificate: Certificate) -> None:
    settings.registry_ca_dir.mkdir(parents=True)
    (settings.registry_ca_dir / "ca.crt").write_bytes(certificate.authority.read_bytes())
    fetcher = job_fetcher(settings, RegistryAccess(), "linux/amd64")
    with web_server(certificate) as secure:
        assert get(fetcher, secure.file("/direct", CONTENT), target).path.read_bytes() == CONTENT
        url = secure.status("/away", 302, {"Location": web.file("/model.onnx", CONTENT)})
        error = fail(fetcher, url, target)
    assert (error.reason, "from https to http" in error.message) == ("SourceUnavailable", True)


def test_a_certificate_of_nobody_known_is_not_trusted(fetcher: Fetcher, target: Path, certificate: Certificate) -> None:
    with web_server(certificate) as secure:
        error = fail(fetcher, secure.file("/model.onnx", CONTENT), target)
        assert len(secure.seen) == 0
    assert "not trusted" in error.message


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"username": "u", "password": "p"}, "Basic dTpw"),
        ({"token": "t0k3n\n"}, "Bearer t0k3n"),
    ],
)
def test_the_sources_secret_is_sent_to_its_server_alone(
    fetcher: Fetcher, web: WebServer, target: Path, keys: dict[str, str], header: str
) -> None:
    folder = fetcher.settings.model_credentials_dir
    folder.mkdir(parents=True)
    for key, value in keys.items():
        (folder / key).write_text(value)
    with web_server() as elsewhere:
        url = web.status("/model.onnx", 302, {"Location": elsewhere.file("/x", CONTENT)})
        assert get(fetcher, url, target, secret=True).path.read_bytes() == CONTENT
        assert web.seen[0][1]["Authorization"] == header
        assert "Authorization" not in elsewhere.seen[0][1]


def test_without_secret_nothing_is_sent(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    folder = fetcher.settings.model_credentials_dir
    folder.mkdir(parents=True)
    (folder / "token").write_text("t0k3n")
    get(fetcher, web.file("/model.onnx", CONTENT), target)
    assert "Authorization" not in web.seen[0][1]


def test_a_secret_without_known_keys_is_said_to_be(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    fetcher.settings.model_credentials_dir.mkdir(parents=True)
    error = fail(fetcher, web.file("/model.onnx", CONTENT), target, secret=True)
    assert (error.reason, "username" in error.message) == ("SourceUnauthorized", True)


def test_user_names_passwords_and_signatures_are_not_shown(fetcher: Fetcher, web: WebServer, target: Path) -> None:
    address = web.status("/model.onnx", 404).replace("http://", "http://user:hunter2@") + "?signature=s3cret"
    error = fail(fetcher, address, target)
    assert "hunter2" not in error.message
    assert "s3cret" not in error.message
    assert public_uri(address) == web.url + "/model.onnx"


class TestClaims:
    @pytest.fixture
    def claim(self, settings: Settings) -> Path:
        folder = settings.claims_dir / "data"
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "m.onnx").write_bytes(CONTENT)
        (settings.claims_dir / "secret").write_bytes(b"secret")
        return folder

    def test_a_file_in_a_claim_arrives(self, fetcher: Fetcher, claim: Path, target: Path) -> None:
        (claim / "link.onnx").symlink_to(claim / "models" / "m.onnx")
        assert get(fetcher, "pvc://data/models/m.onnx", target).path.read_bytes() == CONTENT
        assert get(fetcher, "pvc://data/link.onnx", target).path.read_bytes() == CONTENT

    def test_a_folder_in_a_claim_arrives_with_one_digest_over_all_of_it(
        self, fetcher: Fetcher, claim: Path, target: Path
    ) -> None:
        (claim / "models" / "data").mkdir()
        (claim / "models" / "data" / "w.bin").write_bytes(b"weights")
        (claim / "models" / ".git").mkdir()
        (claim / "models" / ".git" / "config").write_bytes(b"hidden")
        fetched = get(fetcher, "pvc://data/models", target)
        found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
        assert found == {"m.onnx": CONTENT, "data/w.bin": b"weights"}
        command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
        printed = subprocess.run(["sh", "-c", command], cwd=target, capture_output=True, check=True).stdout
        assert fetched.sha256 == printed.decode().split()[0]

    def test_links_in_a_folder_are_not_followed(self, fetcher: Fetcher, claim: Path, target: Path) -> None:
        (claim / "models" / "link").symlink_to(claim.parent / "secret")
        error = fail(fetcher, "pvc://data/models", target)
        assert (error.reason, "link or device 'link'" in error.message) == ("InvalidTask", True)
        assert not target.exists()

    def test_a_folder_larger_than_allowed_is_not_copied(self, fetcher: Fetcher, claim: Path, target: Path) -> None:
        (claim / "models" / "n.onnx").write_bytes(CONTENT)
        small = replace(fetcher, settings=replace(fetcher.settings, max_download=len(CONTENT) + 1))
        assert fail(small, "pvc://data/models", target).reason == "SourceTooLarge"
        assert not target.exists()

    @pytest.mark.parametrize(
        "uri",
        [
            "pvc://data/../secret",
            "pvc://data/models/../../secret",
            "pvc://../secret",
            "pvc://data//etc/passwd",
            "pvc://data",
            "pvc://data/",
            "pvc:///m.onnx",
            "pvc://data/escape",
        ],
    )
    def test_nothing_outside_the_claim_is_read(self, fetcher: Fetcher, claim: Path, target: Path, uri: str) -> None:
        (claim / "escape").symlink_to(claim.parent / "secret")
        assert fail(fetcher, uri, target).reason == "InvalidTask"
        assert not target.exists()

    @pytest.mark.parametrize("path", ["none.onnx", "empty", "models/m.onnx/x", "dangling"])
    def test_what_is_not_there_is_not_found(self, fetcher: Fetcher, claim: Path, target: Path, path: str) -> None:
        (claim / "dangling").symlink_to(claim / "nothing")
        (claim / "empty").mkdir()
        assert fail(fetcher, f"pvc://data/{path}", target).reason == "SourceNotFound"


class TestArtifacts:
    @pytest.fixture
    def pushed(self, registry: RunningRegistry) -> str:
        images.push_artifact(registry, "data/one", "v1", {"anything.bin": CONTENT})
        images.push_artifact(registry, "data/two", "v1", {"README.md": b"read me", "net.onnx": CONTENT})
        images.push_artifact(registry, "data/three", "v1", {"a.onnx": b"a", "b.onnx": b"b"})
        return f"oci://{registry.host}/data"

    @pytest.mark.parametrize("name", ["one", "two"])
    def test_the_only_file_or_the_one_by_its_title_arrives(
        self, fetcher: Fetcher, pushed: str, target: Path, name: str
    ) -> None:
        assert get(fetcher, f"{pushed}/{name}:v1", target).path.read_bytes() == CONTENT

    def test_a_digest_names_the_artifact_too(
        self, fetcher: Fetcher, registry: RunningRegistry, pushed: str, target: Path
    ) -> None:
        digest = images.push_artifact(registry, "data/one", "v2", {"x": CONTENT})
        assert get(fetcher, f"{pushed}/one@{digest}", target).path.read_bytes() == CONTENT

    def test_several_files_without_one_to_prefer_are_named(self, fetcher: Fetcher, pushed: str, target: Path) -> None:
        error = fail(fetcher, f"{pushed}/three:v1", target)
        assert (error.reason, "a.onnx, b.onnx" in error.message) == ("SourceNotFound", True)

    def test_a_model_with_its_data_files_arrives_as_a_folder(
        self, fetcher: Fetcher, registry: RunningRegistry, target: Path
    ) -> None:
        files = {"net.onnx": CONTENT, "net.onnx.data": b"weights", "parts/more.bin": b"more", "README.md": b"read me"}
        images.push_artifact(registry, "data/parts", "v1", files)
        fetched = get(fetcher, f"oci://{registry.host}/data/parts:v1", target)
        assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == set(files)
        assert all((target / name).read_bytes() == content for name, content in files.items())
        assert fetched.sha256 == folder_digest(target)

    def test_a_transformers_folder_arrives_whole(
        self, fetcher: Fetcher, registry: RunningRegistry, target: Path
    ) -> None:
        images.push_artifact(registry, "data/bert", "v1", {"config.json": b"{}", "model.safetensors": CONTENT})
        get(fetcher, f"oci://{registry.host}/data/bert:v1", target)
        assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.safetensors"]

    @pytest.mark.parametrize("title", ["../w.data", "/etc/w.data", "a/../../w.data", "net.onnx/w.data", "./w.data"])
    def test_a_title_that_leads_elsewhere_is_refused(
        self, fetcher: Fetcher, registry: RunningRegistry, target: Path, title: str
    ) -> None:
        images.push_artifact(registry, "data/evil", "v1", {"net.onnx": CONTENT, title: b"w"})
        assert fail(fetcher, f"oci://{registry.host}/data/evil:v1", target).reason == "SourceNotFound"
        assert not target.exists()

    def test_the_files_of_an_artifact_are_bounded_together(
        self, fetcher: Fetcher, registry: RunningRegistry, target: Path
    ) -> None:
        half = b"x" * 600
        images.push_artifact(registry, "data/large", "v1", {"net.onnx": half, "net.onnx.data": half})
        small = replace(fetcher, settings=replace(fetcher.settings, max_download=1000))
        assert fail(small, f"oci://{registry.host}/data/large:v1", target).reason == "SourceTooLarge"
        assert not target.exists()

    def test_a_missing_tag_is_not_found(self, fetcher: Fetcher, pushed: str, target: Path) -> None:
        assert fail(fetcher, f"{pushed}/one:v9", target).reason == "SourceNotFound"

    def test_what_is_no_reference_is_an_invalid_task(self, fetcher: Fetcher, target: Path) -> None:
        assert fail(fetcher, "oci://host.example/UPPER:v1", target).reason == "InvalidTask"

    def test_a_registry_that_is_down_is_an_unavailable_source(self, settings: Settings, target: Path) -> None:
        host = f"127.0.0.1:{free_port()}"
        fetcher = job_fetcher(settings, RegistryAccess(insecure=(host,)), "linux/amd64")
        assert fail(fetcher, f"oci://{host}/data/one:v1", target).reason == "SourceUnavailable"

    def test_a_file_that_is_declared_too_large_is_not_read(self, fetcher: Fetcher, pushed: str, target: Path) -> None:
        small = replace(fetcher, settings=replace(fetcher.settings, max_download=1000))
        assert fail(small, f"{pushed}/one:v1", target).reason == "SourceTooLarge"
        assert not target.exists()

    def test_the_registries_secret_serves_where_the_source_has_none(
        self, settings: Settings, web: WebServer, target: Path
    ) -> None:
        host = web.url.removeprefix("http://")
        web.status("/v2/a/manifests/v1", 401, {"WWW-Authenticate": 'Basic realm="x"'})
        settings.registry_credentials_dir.mkdir(parents=True)
        auths = {host: {"username": "u", "password": "p"}}
        (settings.registry_credentials_dir / ".dockerconfigjson").write_text(json.dumps({"auths": auths}))
        fetcher = job_fetcher(settings, RegistryAccess(insecure=(host,)), "linux/amd64")
        assert fail(fetcher, f"oci://{host}/a:v1", target).reason == "SourceUnauthorized"
        assert web.seen[-1][1]["Authorization"] == "Basic dTpw"


def test_a_path_is_a_source_on_the_command_line_only(fetcher: Fetcher, tmp_path: Path, target: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    assert fail(fetcher, str(tmp_path / "m.onnx"), target).reason == "InvalidTask"
    local = replace(fetcher, local_paths=True)
    assert get(local, str(tmp_path / "m.onnx"), target).path.read_bytes() == CONTENT
