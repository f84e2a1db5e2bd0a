"""Answers to a registry's challenge: basic, or a bearer token from the token server it names."""

from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import httpx
import msgspec

from edgemodel_compressor.registry.credentials import Credentials, Login
from edgemodel_compressor.registry.errors import RegistryError
from edgemodel_compressor.registry.reference import Repository

_TOKEN_LIMIT = 1 << 20


class Authenticator:
    """Authorization headers per host and scopes, remembered until a registry refuses one."""

    def __init__(self, client: httpx.Client, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials
        self._headers: dict[tuple[str, tuple[str, ...]], str] = {}

    def header(self, repository: Repository, scopes: Sequence[str]) -> str | None:
        """What worked last time for these scopes."""
        return self._headers.get((repository.host, tuple(scopes)))

    def answer(self, repository: Repository, scopes: Sequence[str], refused: httpx.Response) -> str:
        """The Authorization header that ``refused``'s challenge asks for.

        Raises:
            RegistryError: Unauthorized where no login is known or the token server refuses it.
        """
        challenge = refused.headers.get("www-authenticate", "")
        kind, _, parameters = challenge.partition(" ")
        login = self._credentials.find(repository)
        if kind.lower() == "bearer":
            values = parse_keqv_list(parse_http_list(parameters))
            header = "Bearer " + self._token(repository, scopes, values, login, refused.request.url.scheme)
        elif login is None:
            raise _unauthorized(repository, "no login for it is known; add one to the registry Secret")
        else:
            header = f"Bearer {login.token}" if login.token else login.basic
        self._headers[(repository.host, tuple(scopes))] = header
        return header

    def _token(
        self,
        repository: Repository,
        scopes: Sequence[str],
        challenge: dict[str, str],
        login: Login | None,
        scheme: str,
    ) -> str:
        if login and login.token:
            return login.token
        realm = challenge.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in ("https", "http") or (parts.scheme == "http" and scheme == "https"):
            raise _unauthorized(repository, f"its token server {realm!r} is not reached by https")
        parameters: list[tuple[str, str | int | float | bool | None]] = [("scope", scope) for scope in scopes]
        if "service" in challenge:
            parameters.append(("service", challenge["service"]))
        headers = {"Authorization": login.basic} if login else {}
        try:
            response = self._client.get(realm, params=parameters, headers=headers)
        except httpx.HTTPError as error:
            raise RegistryError(
                "Unavailable",
                f"The token server {parts.netloc} of the registry {repository.host} cannot be reached "
                f"({type(error).__name__}).",
                transient=True,
            ) from error
        if response.status_code >= 500:
            raise RegistryError(
                "Unavailable",
                f"The token server {parts.netloc} of the registry {repository.host} answered {response.status_code}.",
                transient=True,
            )
        if response.status_code != 200 or len(response.content) > _TOKEN_LIMIT:
            raise _unauthorized(repository, f"its token server answered {response.status_code}; check the login")
        try:
            answer = msgspec.json.decode(response.content)
            return str(answer.get("token") or answer["access_token"])
        except (msgspec.MsgspecError, KeyError, AttributeError) as error:
            raise _unauthorized(repository, "its token server gave no token") from error


def _unauthorized(repository: Repository, why: str) -> RegistryError:
    return RegistryError("Unauthorized", f"The registry {repository.host} refuses access to {repository.path}: {why}.")
