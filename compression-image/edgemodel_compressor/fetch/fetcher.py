"""One door to all sources: the URI decides how, and the digest is checked before anything else looks."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.credentials import SourceLogin, read_source_login
from edgemodel_compressor.fetch.folder import copy_folder, folder_digest
from edgemodel_compressor.fetch.http import fetch_http
from edgemodel_compressor.fetch.hub import Hub
from edgemodel_compressor.fetch.limits import Limits
from edgemodel_compressor.fetch.local import claim_path, copy_file
from edgemodel_compressor.fetch.oci import fetch_oci
from edgemodel_compressor.fetch.source import SCHEMES, public_uri, scheme_of
from edgemodel_compressor.progress import Span
from edgemodel_compressor.registry.client import Registry, open_registry
from edgemodel_compressor.registry.credentials import DOCKER_CONFIG_KEY, Credentials, Login, read_docker_config
from edgemodel_compressor.registry.reference import Repository
from edgemodel_compressor.registry.transport import tls_context
from edgemodel_compressor.settings import Settings
from edgemodel_contract.task import RegistryAccess, Source

Kind = Literal["model", "dataset"]
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "model": (".onnx", ".pt2", ".pt", *_ARCHIVES),
    "dataset": (".npz", ".npy", ".parquet", *_ARCHIVES),
}


@dataclass(frozen=True)
class Fetched:
    """A file or a folder on the local disk; ``sha256`` is 64 hex digits, of a folder as ``folder_digest`` says."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Fetcher:
    """Fetches sources. ``local_paths`` allows plain paths: on the command line, never in a Job."""

    settings: Settings
    access: RegistryAccess
    credentials: Credentials
    ca_file: Path | None
    platform: str
    local_paths: bool = False

    def fetch(self, source: Source, kind: Kind, target: Path, span: Span) -> Fetched:
        """Bring ``source`` to ``target`` and check its digest.

        Raises:
            TaskError: InvalidTask, ChecksumMismatch, or one of the Source… reasons.
        """
        shown = public_uri(source.uri)
        limits = Limits(
            f"The {kind} at {shown}",
            self.settings.max_download,
            time.monotonic() + self.settings.fetch_timeout,
        )
        message = f"fetching the {kind} from {shown}"
        span.report("Fetching", message)

        def advance(size: int, total: int | None) -> None:
            span.report("Fetching", message, size / total if total else 0.0)

        self._get(source, kind, target, limits, advance)
        span.report("Fetching", message, 1.0)
        found = _digest(target)
        if source.sha256 and found != source.sha256.lower().removeprefix("sha256:"):
            raise TaskError(
                "ChecksumMismatch",
                f"{limits.what} has sha256 {found}, but {source.sha256} was expected; check which of the two is right.",
            )
        return Fetched(target, found)

    def _get(
        self, source: Source, kind: Kind, target: Path, limits: Limits, advance: Callable[[int, int | None], None]
    ) -> None:
        scheme = scheme_of(source.uri)
        if scheme is None and self.local_paths:
            if not Path(source.uri).exists():
                raise TaskError("InvalidTask", f"{limits.what} does not exist; check the path.")
            _copy(Path(source.uri), target, limits, advance)
        elif scheme == "pvc":
            _copy(claim_path(source.uri, self.settings.claims_dir), target, limits, advance)
        elif scheme in ("http", "https"):
            login = self._login(source, kind)
            with self._http_client() as client:
                headers = login.headers if login else {}
                fetch_http(client, source.uri, headers, target, limits, self.settings.retry, advance)
        elif scheme == "hf":
            login = self._login(source, kind)
            with self._http_client() as client:
                headers = login.headers if login else {}
                hub = Hub(client, self.settings.hub_endpoint, headers, self.settings.retry)
                hub.fetch(source.uri, kind, target, limits, advance)
        elif scheme == "oci":
            with self.registry(self._login(source, kind)) as registry:
                fetch_oci(
                    registry,
                    source.uri,
                    _SUFFIXES[kind],
                    kind == "model",
                    self.platform,
                    target,
                    limits,
                    self.settings.retry,
                    advance,
                )
        else:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise TaskError("InvalidTask", f"{limits.what} cannot be fetched that way; use one of {known}.")

    def _login(self, source: Source, kind: Kind) -> SourceLogin | None:
        folders = {
            "model": self.settings.model_credentials_dir,
            "dataset": self.settings.dataset_credentials_dir,
        }
        return read_source_login(folders[kind]) if source.secret else None

    @contextmanager
    def _http_client(self) -> Iterator[httpx.Client]:
        timeout = httpx.Timeout(self.settings.read_timeout, connect=self.settings.connect_timeout)
        with httpx.Client(verify=tls_context(self.ca_file), timeout=timeout, max_redirects=5) as client:
            yield client

    @contextmanager
    def registry(self, login: SourceLogin | None = None) -> Iterator[Registry]:
        """Registries with the general logins, and before those with ``login``."""
        credentials = _SourceFirst(login, self.credentials) if login else self.credentials
        with open_registry(
            self.access,
            credentials,
            self.ca_file,
            self.settings.retry,
            self.settings.connect_timeout,
            self.settings.read_timeout,
        ) as registry:
            yield registry


class _SourceFirst(Credentials):
    """The source's own Secret before the one for registries."""

    def __init__(self, login: SourceLogin, general: Credentials) -> None:
        super().__init__({})
        self._login = login
        self._general = general

    def find(self, repository: Repository) -> Login | None:
        return self._login.registries.find(repository) or self._login.login or self._general.find(repository)


def job_fetcher(settings: Settings, access: RegistryAccess, platform: str) -> Fetcher:
    """The Fetcher of a Job, with the Secrets and the CA that are mounted in it.

    Raises:
        TaskError: RegistryUnauthorized where the mounted registry Secret cannot be read.
    """
    credentials = read_docker_config(settings.registry_credentials_dir / DOCKER_CONFIG_KEY)
    return Fetcher(settings, access, credentials, settings.registry_ca_dir / "ca.crt", platform)


def _copy(source: Path, target: Path, limits: Limits, advance: Callable[[int, int | None], None]) -> None:
    if source.is_dir():
        copy_folder(source, target, limits, advance)
    else:
        copy_file(source, target, limits, advance)


def _digest(path: Path) -> str:
    if path.is_dir():
        return folder_digest(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
