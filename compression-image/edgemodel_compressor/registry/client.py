"""Manifests and blobs of any registry that speaks the distribution API."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import httpx
import msgspec

from edgemodel_compressor.registry.credentials import Credentials
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.reference import Reference, Repository
from edgemodel_compressor.registry.transport import Transport, tls_context
from edgemodel_compressor.retry import RetryPolicy, with_retries
from edgemodel_contract.task import RegistryAccess

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_MANIFEST_LIMIT = 4 * 2**20
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Descriptor:
    """A blob: what it is, ``sha256:…``, bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A manifest as stored: its bytes decide its digest."""

    media_type: str
    data: bytes
    digest: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object. Raises RegistryError where it is none."""
        try:
            value = msgspec.json.decode(self.data)
        except msgspec.MsgspecError as error:
            raise RegistryError("Invalid", f"The manifest {self.digest} is not JSON.") from error
        if not isinstance(value, dict):
            raise RegistryError("Invalid", f"The manifest {self.digest} is not a JSON object.")
        return value


def sha256(data: bytes) -> str:
    """``sha256:…`` of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry:
    """All registries of a task. Transient errors are tried again; others are a RegistryError at once."""

    def __init__(
        self, client: httpx.Client, access: RegistryAccess, credentials: Credentials, retry: RetryPolicy
    ) -> None:
        self._transport = Transport(client, access, credentials)
        self._retry = retry

    def manifest(self, reference: Reference) -> Manifest:
        """The manifest or index behind ``reference``; by digest, its bytes are checked."""

        def get() -> Manifest:
            with self._transport.exchange(
                "GET",
                reference.repository,
                f"manifests/{reference.target}",
                headers={"Accept": _ACCEPT},
                missing=f"image {reference}",
            ) as response:
                data = _read_all(response, _MANIFEST_LIMIT, str(reference))
                media_type = response.headers.get("content-type", "").partition(";")[0].strip()
            return Manifest(media_type, data, sha256(data))

        manifest = with_retries(get, self._retry)
        if reference.digest and manifest.digest != reference.digest:
            raise RegistryError(
                "Invalid", f"The registry gave {manifest.digest} for {reference}; its content is damaged."
            )
        return manifest

    def has_blob(self, repository: Repository, digest: str, *, push: bool = False) -> bool:
        """Whether ``repository`` holds the blob already."""

        def head() -> bool:
            with self._transport.exchange("HEAD", repository, f"blobs/{digest}", push=push, ok=(200, 404)) as response:
                return response.status_code == 200

        return with_retries(head, self._retry)

    @contextmanager
    def open_blob(self, repository: Repository, blob: Descriptor) -> Iterator[Iterator[bytes]]:
        """The blob's bytes in chunks; reading to the end checks size and digest."""
        with self._transport.exchange(
            "GET", repository, f"blobs/{blob.digest}", missing=f"blob {blob.digest} in {repository.path}"
        ) as response:
            yield _verified(response.iter_raw(_CHUNK), blob, repository)

    def blob(self, repository: Repository, blob: Descriptor, limit: int = _MANIFEST_LIMIT) -> bytes:
        """A small blob as a whole."""
        if blob.size > limit:
            raise RegistryError(
                "Invalid", f"The blob {blob.digest} in {repository} has {blob.size} bytes, more than {limit}."
            )

        def get() -> bytes:
            with self.open_blob(repository, blob) as chunks:
                return b"".join(chunks)

        return with_retries(get, self._retry)

    def mount(self, target: Repository, source: Repository, digest: str) -> bool:
        """Take the blob over from another repository of the same registry; False where the registry will not."""

        def post() -> bool:
            with self._transport.exchange(
                "POST",
                target,
                f"blobs/uploads/?mount={quote(digest)}&from={quote(source.path, safe='')}",
                push=True,
                pull_from=source,
                ok=(201, 202),
            ) as response:
                return response.status_code == 201

        return with_retries(post, self._retry)

    def upload(self, target: Repository, blob: Descriptor, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Store a blob; ``chunks`` gives its bytes afresh for every attempt."""

        def put() -> None:
            with self._transport.exchange("POST", target, "blobs/uploads/", push=True, ok=(202,)) as response:
                location = response.headers.get("location", "")
                location = urljoin(str(response.request.url), location)
            query = ("&" if "?" in location else "?") + f"digest={quote(blob.digest)}"
            headers = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
            with self._transport.exchange(
                "PUT", target, location + query, push=True, headers=headers, content=chunks(), ok=(201,)
            ):
                pass

        with_retries(put, self._retry)

    def copy(self, target: Repository, source: Repository, blob: Descriptor) -> None:
        """Bring a blob into ``target`` by the cheapest way: it is there, it is mounted, or it is streamed over."""
        if self.has_blob(target, blob.digest, push=True):
            return
        if target.host == source.host and self.mount(target, source, blob.digest):
            return

        def chunks() -> Iterator[bytes]:
            with self.open_blob(source, blob) as stream:
                yield from stream

        self.upload(target, blob, chunks)

    def put_manifest(self, repository: Repository, tag: str, media_type: str, data: bytes) -> str:
        """Store a manifest under ``tag`` and return its digest."""

        def put() -> None:
            with self._transport.exchange(
                "PUT",
                repository,
                f"manifests/{tag}",
                push=True,
                headers={"Content-Type": media_type},
                content=data,
                ok=(200, 201),
            ):
                pass

        with_retries(put, self._retry)
        return sha256(data)


@contextmanager
def open_registry(
    access: RegistryAccess,
    credentials: Credentials,
    ca_file: Path | None,
    retry: RetryPolicy,
    connect_timeout: float,
    read_timeout: float,
) -> Iterator[Registry]:
    """A Registry with connections of its own, closed at the end. ``ca_file`` is trusted beside the system's CAs."""
    timeout = httpx.Timeout(read_timeout, connect=connect_timeout)
    with httpx.Client(verify=tls_context(ca_file), timeout=timeout, max_redirects=5) as client:
        yield Registry(client, access, credentials, retry)


def _read_all(response: httpx.Response, limit: int, what: str) -> bytes:
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > limit:
            raise RegistryError("Invalid", f"The registry's answer for {what} is longer than {limit} bytes.")
    return bytes(data)


def _verified(chunks: Iterator[bytes], blob: Descriptor, repository: Repository) -> Iterator[bytes]:
    hasher, size = hashlib.sha256(), 0
    for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
        if size > blob.size:
            break
        yield chunk
    if size != blob.size or f"sha256:{hasher.hexdigest()}" != blob.digest:
        raise RegistryError(
            "Unavailable",
            f"The blob {blob.digest} of {repository} arrived damaged or cut short.",
            transient=True,
        )
