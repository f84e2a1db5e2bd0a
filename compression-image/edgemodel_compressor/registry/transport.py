"""One HTTP exchange with a registry: its address, its TLS, its login, its errors as sentences."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.registry.auth import Authenticator
from edgemodel_compressor.registry.credentials import Credentials
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.reference import DOCKER_HUB, Repository
from edgemodel_contract.task import RegistryAccess

_HUB_ENDPOINT = "https://registry-1.docker.io"
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Certificates of the system, and those of ``ca_file`` beside them if it exists.

    Raises:
        TaskError: RegistryUnavailable where ``ca_file`` holds no certificate.
    """
    context = ssl.create_default_context()
    if ca_file and ca_file.is_file():
        try:
            context.load_verify_locations(ca_file)
        except ssl.SSLError as error:
            raise TaskError(
                "RegistryUnavailable", f"The file {ca_file.name} of the private CA holds no PEM certificate; mend it."
            ) from error
    return context


class Transport:
    """Sends requests for a repository to the endpoint of its registry."""

    def __init__(self, client: httpx.Client, access: RegistryAccess, credentials: Credentials) -> None:
        self._client = client
        self._access = access
        self._auth = Authenticator(client, credentials)

    def endpoint(self, host: str) -> str:
        """The URL of the registry that image references call ``host``."""
        if host in self._access.endpoints:
            return self._access.endpoints[host].rstrip("/")
        if host in self._access.insecure:
            return f"http://{host}"
        return _HUB_ENDPOINT if host == DOCKER_HUB else f"https://{host}"

    @contextmanager
    def exchange(
        self,
        method: str,
        repository: Repository,
        path: str,
        *,
        push: bool = False,
        pull_from: Repository | None = None,
        headers: dict[str, str] | None = None,
        content: Iterable[bytes] | bytes | None = None,
        ok: Sequence[int] = (200,),
        missing: str = "",
    ) -> Iterator[httpx.Response]:
        """One response, its body not yet read, with a status in ``ok``; ``missing`` words what a 404 means.

        ``path`` is below the repository, or a full URL the registry has named. An iterable ``content`` is sent once:
        for it, authorization must have been settled by an earlier exchange of the same scopes.

        Raises:
            RegistryError: in every other case.
        """
        base = self.endpoint(repository.host)
        url = httpx.URL(urljoin(f"{base}/v2/{repository.path}/", path))
        scopes = [f"repository:{repository.path}:{'pull,push' if push else 'pull'}"]
        if pull_from and pull_from.path != repository.path:
            scopes.append(f"repository:{pull_from.path}:pull")
        response = self._send(method, repository, url, scopes, headers, content)
        try:
            if response.status_code == 401 and (content is None or isinstance(content, bytes)):
                response.close()
                self._auth.answer(repository, scopes, response)
                response = self._send(method, repository, url, scopes, headers, content)
            self._check(response, repository, ok, missing)
            yield response
        except httpx.HTTPError as error:
            raise _broken(error, repository) from error
        finally:
            response.close()

    def _send(
        self,
        method: str,
        repository: Repository,
        url: httpx.URL,
        scopes: Sequence[str],
        headers: dict[str, str] | None,
        content: Iterable[bytes] | bytes | None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        home = httpx.URL(self.endpoint(repository.host))
        # A registry may send uploads to another server; the login is not for that one.
        if (url.scheme, url.host, url.port) == (home.scheme, home.host, home.port):
            authorization = self._auth.header(repository, scopes)
            if authorization:
                sent["Authorization"] = authorization
        request = self._client.build_request(method, url, headers=sent, content=content)
        try:
            return self._client.send(request, stream=True, follow_redirects=method in ("GET", "HEAD"))
        except httpx.HTTPError as error:
            raise _broken(error, repository) from error

    def _check(self, response: httpx.Response, repository: Repository, ok: Sequence[int], missing: str) -> None:
        status = response.status_code
        if status in ok:
            return
        where = f"The registry {repository.host}"
        if status in (401, 403):
            raise RegistryError(
                "Unauthorized",
                f"{where} refuses access to {repository.path} ({status}); check the login in the registry Secret "
                "and its rights.",
            )
        if status == 404:
            raise RegistryError("NotFound", f"{where} has no {missing or repository.path}.")
        if status in _TRANSIENT:
            raise RegistryError("Unavailable", f"{where} answered {status} for {repository.path}.", transient=True)
        raise RegistryError("Invalid", f"{where} answered {status} for {repository.path}.")


def _broken(error: httpx.HTTPError, repository: Repository) -> RegistryError:
    where = f"The registry {repository.host} cannot be reached for {repository.path}"
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if isinstance(seen, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
            return RegistryError(
                "Unavailable", f"{where}: its certificate is not trusted; give the private CA's ca.crt."
            )
        if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
            return RegistryError(
                "Unavailable", f"{where}: it does not speak TLS; list it as insecure if it is a plain HTTP registry."
            )
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return RegistryError("Unavailable", f"{where}: it redirects without end or to no web address.")
    detail = str(error) or type(error).__name__
    return RegistryError("Unavailable", f"{where}: {detail}.", transient=True)
