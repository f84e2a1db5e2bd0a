"""Logins, tokens, private CAs: the registry client against registries that ask for them."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.registry.client import Descriptor, Registry, open_registry, sha256
from edgemodel_compressor.registry.credentials import read_docker_config
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.reference import Reference, Repository
from edgemodel_compressor.retry import RetryPolicy
from edgemodel_contract.task import RegistryAccess
from tests.unit.compressor.servers import (
    HTPASSWD,
    PASSWORD,
    USER,
    Certificate,
    RunningRegistry,
    TokenServer,
    WebServer,
    docker_registry,
    token_server,
    web_server,
)

PAYLOAD = b"some bytes" * 100
BLOB = Descriptor("application/octet-stream", sha256(PAYLOAD), len(PAYLOAD))


def docker_config(path: Path, auths: dict[str, dict[str, str]]) -> Path:
    path.write_text(json.dumps({"auths": auths}))
    return path


def login(password: str = PASSWORD) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}


@contextmanager
def client(running: RunningRegistry, config: Path, ca: Path | None = None) -> Iterator[Registry]:
    insecure = () if running.url.startswith("https") else (running.host,)
    access = RegistryAccess(insecure=insecure)
    with open_registry(access, read_docker_config(config), ca, RetryPolicy(2, 0.0), 5.0, 5.0) as registry:
        yield registry


def push_and_read(registry: Registry, host: str, path: str = "team/things") -> bytes:
    repository = Repository(host, path)
    registry.upload(repository, BLOB, lambda: [PAYLOAD[:300], PAYLOAD[300:]])
    assert registry.has_blob(repository, BLOB.digest)
    return registry.blob(repository, BLOB)


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    folder = tmp_path_factory.mktemp("basic")
    (folder / "htpasswd").write_text(HTPASSWD)
    extra = f"auth:\n  htpasswd:\n    realm: test\n    path: {folder / 'htpasswd'}\n"
    with docker_registry(folder, extra) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_server(tmp_path_factory.mktemp("tokens")) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(tmp_path_factory: pytest.TempPathFactory, tokens: TokenServer) -> Iterator[RunningRegistry]:
    with docker_registry(tmp_path_factory.mktemp("bearer"), tokens.registry_config) as running:
        yield running


@pytest.mark.parametrize("form", ["{host}", "http://{host}", "https://{host}/v1/", "{host}/team"])
def test_basic_logins_are_found_however_the_secret_names_the_registry(
    basic: RunningRegistry, tmp_path: Path, form: str
) -> None:
    config = docker_config(tmp_path / "config.json", {form.format(host=basic.host): login(), "other.example": {}})
    with client(basic, config) as registry:
        assert push_and_read(registry, basic.host) == PAYLOAD


def test_user_and_password_may_be_given_apart(basic: RunningRegistry, tmp_path: Path) -> None:
    config = docker_config(tmp_path / "config.json", {basic.host: {"username": USER, "password": PASSWORD}})
    with client(basic, config) as registry:
        assert push_and_read(registry, basic.host) == PAYLOAD


@pytest.mark.parametrize("auths", [{}, {"HOST": login("wrong-secret")}, {"HOST/another/team": login()}])
def test_a_missing_or_wrong_login_is_unauthorized_and_not_shown(
    basic: RunningRegistry, tmp_path: Path, auths: dict[str, dict[str, str]]
) -> None:
    named = {key.replace("HOST", basic.host): entry for key, entry in auths.items()}
    config = docker_config(tmp_path / "config.json", named)
    with client(basic, config) as registry, pytest.raises(RegistryError) as caught:
        push_and_read(registry, basic.host)
    assert caught.value.kind == "Unauthorized"
    assert basic.host in caught.value.message
    assert "team/things" in caught.value.message
    assert "wrong-secret" not in caught.value.message


def test_bearer_tokens_are_asked_for_with_the_scope_at_hand(
    bearer: RunningRegistry, tokens: TokenServer, tmp_path: Path
) -> None:
    config = docker_config(tmp_path / "config.json", {bearer.host: login()})
    with client(bearer, config) as registry:
        assert push_and_read(registry, bearer.host) == PAYLOAD
    assert ["repository:team/things:pull,push"] in tokens.scopes
    assert ["repository:team/things:pull"] in tokens.scopes


def test_a_mount_asks_for_both_repositories(bearer: RunningRegistry, tokens: TokenServer, tmp_path: Path) -> None:
    config = docker_config(tmp_path / "config.json", {bearer.host: login()})
    source, target = Repository(bearer.host, "team/source"), Repository(bearer.host, "team/target")
    with client(bearer, config) as registry:
        push_and_read(registry, bearer.host, source.path)
        assert registry.mount(target, source, BLOB.digest)
        assert registry.has_blob(target, BLOB.digest)
    assert ["repository:team/target:pull,push", "repository:team/source:pull"] in tokens.scopes


def test_a_login_that_the_token_server_refuses_is_unauthorized(bearer: RunningRegistry, tmp_path: Path) -> None:
    config = docker_config(tmp_path / "config.json", {bearer.host: login("wrong-secret")})
    with client(bearer, config) as registry, pytest.raises(RegistryError) as caught:
        push_and_read(registry, bearer.host)
    assert caught.value.kind == "Unauthorized"
    assert "wrong-secret" not in caught.value.message


def test_a_private_ca_is_trusted_when_it_is_given(certificate: Certificate, tmp_path: Path) -> None:
    with docker_registry(tmp_path, tls=certificate) as running:
        config = tmp_path / "none.json"
        with client(running, config, certificate.authority) as registry:
            assert push_and_read(registry, running.host) == PAYLOAD
        with client(running, config) as registry, pytest.raises(RegistryError, match=r"not trusted.*ca\.crt"):
            push_and_read(registry, running.host)


def test_a_plain_registry_that_is_not_listed_as_insecure_says_so(registry: RunningRegistry, tmp_path: Path) -> None:
    secure = RunningRegistry(registry.host, f"https://{registry.host}", registry.storage)
    with client(secure, tmp_path / "none.json") as plain, pytest.raises(RegistryError, match="insecure"):
        push_and_read(plain, registry.host)


def test_a_ca_file_without_a_certificate_is_said_to_be(registry: RunningRegistry, tmp_path: Path) -> None:
    bad = tmp_path / "ca.crt"
    bad.write_text("not a certificate")
    with pytest.raises(TaskError, match=r"ca\.crt"), client(registry, tmp_path / "none.json", bad):
        pass


def test_a_damaged_blob_is_noticed(registry: RunningRegistry, tmp_path: Path) -> None:
    with client(registry, tmp_path / "none.json") as reading:
        push_and_read(reading, registry.host, "team/damaged")
        digest = BLOB.digest.removeprefix("sha256:")
        stored = registry.storage / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        stored.write_bytes(PAYLOAD[:-1] + b"!")
        with pytest.raises(RegistryError, match="damaged"):
            reading.blob(Repository(registry.host, "team/damaged"), BLOB)
        shutil.rmtree(stored.parent)


def test_a_busy_registry_is_asked_again(web: WebServer, tmp_path: Path) -> None:
    host = web.url.removeprefix("http://")
    path = "/v2/a/manifests/v1"
    web.status(path, 503)
    running = RunningRegistry(host, web.url, tmp_path)
    with client(running, tmp_path / "none.json") as registry:
        with pytest.raises(RegistryError) as caught:
            registry.manifest(Reference(Repository(host, "a"), "v1"))
        assert caught.value.kind == "Unavailable"
        assert len(web.seen) == 2
        web.file(path, b"{}")
        assert registry.manifest(Reference(Repository(host, "a"), "v1")).data == b"{}"


def test_a_login_is_not_carried_to_another_server(web: WebServer, tmp_path: Path) -> None:
    host = web.url.removeprefix("http://")
    with web_server() as elsewhere:
        target = elsewhere.file("/file", PAYLOAD)
        path = f"/v2/a/blobs/{BLOB.digest}"

        def reply(request: object) -> None:
            authorized = web.seen[-1][1].get("Authorization")
            web.status("/once", 302 if authorized else 401, {"Location": target, "WWW-Authenticate": 'Basic realm="x"'})
            web.replies["/once"](request)  # type: ignore[arg-type]

        web.on(path, reply)
        config = docker_config(tmp_path / "config.json", {host: login()})
        with client(RunningRegistry(host, web.url, tmp_path), config) as registry:
            assert registry.blob(Repository(host, "a"), BLOB) == PAYLOAD
        assert web.seen[-1][1]["Authorization"].startswith("Basic ")
        assert "Authorization" not in elsewhere.seen[-1][1]


def test_a_secret_that_is_no_docker_configuration_is_said_to_be(tmp_path: Path) -> None:
    for content in ("[]", '{"auths": 3}', '{"auths": {"a": {"auth": "%%"}}}', "not json"):
        path = tmp_path / "config.json"
        path.write_text(content)
        with pytest.raises(TaskError, match="not a Docker configuration"):
            read_docker_config(path)


def test_a_configuration_that_leaves_logins_to_a_helper_has_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "desktop"}')
    assert read_docker_config(tmp_path / "config.json").find(Repository("docker.io", "a/b")) is None


def test_docker_hub_goes_by_its_old_names(tmp_path: Path) -> None:
    config = docker_config(tmp_path / "config.json", {"https://index.docker.io/v1/": login()})
    found = read_docker_config(config).find(Repository("docker.io", "library/python"))
    assert found is not None
    assert found.username == USER
    assert PASSWORD not in repr(found)
