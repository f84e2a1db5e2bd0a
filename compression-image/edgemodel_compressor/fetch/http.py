"""``https://`` and ``http://`` sources: resumed after a break, never downgraded from https."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.limits import Limits, save
from edgemodel_compressor.retry import RetryPolicy, with_retries

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


def fetch_http(
    client: httpx.Client,
    url: str,
    headers: Mapping[str, str],
    target: Path,
    limits: Limits,
    retry: RetryPolicy,
    advance: Callable[[int, int | None], None],
) -> None:
    """Download ``url`` to ``target``; ``advance`` is told the bytes so far and in all.

    Raises:
        TaskError: SourceNotFound, SourceUnauthorized, SourceTooLarge, SourceUnavailable.
    """
    download = _Download(client, url, headers, target, limits, advance)
    with_retries(download.attempt, retry)


class _Download:
    def __init__(
        self,
        client: httpx.Client,
        url: str,
        headers: Mapping[str, str],
        target: Path,
        limits: Limits,
        advance: Callable[[int, int | None], None],
    ) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._target = target
        self._limits = limits
        self._advance = advance
        self._version: str | None = None
        target.write_bytes(b"")

    def attempt(self) -> None:
        limits = self._limits
        limits.check_time()
        have = self._target.stat().st_size if self._version else 0
        # Without compression on the way, so that a position in the file is a position in the stream.
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if have and self._version:
            headers |= {"Range": f"bytes={have}-", "If-Range": self._version}
        try:
            with self._client.stream("GET", self._url, headers=headers, follow_redirects=True) as response:
                self._check(response)
                resumed = response.status_code == 206 and response.headers.get("content-range", "").startswith(
                    f"bytes {have}-"
                )
                self._save(response, have if resumed else 0)
        except httpx.HTTPError as error:
            raise self._broken(error) from error

    def _save(self, response: httpx.Response, have: int) -> None:
        # Only a strong validator vouches that the rest belongs to what is here.
        etag = response.headers.get("etag", "")
        self._version = etag if etag and not etag.startswith("W/") else None
        length = response.headers.get("content-length", "")
        total = have + int(length) if length.isdigit() else None
        if total is not None:
            self._limits.check_size(total)
        with self._target.open("ab") as file:
            file.truncate(have)
            # Chunks as they arrive: a fixed size would hold back, and lose, the last part before a break.
            save(response.iter_raw(), file, self._limits, lambda size: self._advance(size, total), have)

    def _check(self, response: httpx.Response) -> None:
        if any(hop.url.scheme == "https" for hop in response.history) and response.url.scheme != "https":
            raise TaskError(
                "SourceUnavailable", f"{self._limits.what} redirects from https to http; use its final address."
            )
        status = response.status_code
        if status in (200, 206):
            return
        what = self._limits.what
        if status in (401, 403):
            raise TaskError(
                "SourceUnauthorized",
                f"{what} is refused by its server ({status}); check the Secret with its credentials.",
            )
        if status in (404, 410):
            raise TaskError("SourceNotFound", f"{what} does not exist ({status}); check the URI.")
        raise TaskError(
            "SourceUnavailable",
            f"{what} cannot be fetched: its server answers {status}; try again later or check the URI.",
            transient=status in _TRANSIENT,
        )

    def _broken(self, error: httpx.HTTPError) -> TaskError:
        what = self._limits.what
        seen: BaseException | None = error
        while seen is not None:
            if isinstance(seen, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(seen):
                return TaskError(
                    "SourceUnavailable",
                    f"{what} cannot be fetched: its certificate is not trusted; give the private CA.",
                )
            seen = seen.__cause__ or seen.__context__
        if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol):
            return TaskError(
                "SourceUnavailable", f"{what} cannot be fetched: it redirects without end or to no web address."
            )
        detail = str(error) or type(error).__name__
        return TaskError(
            "SourceUnavailable", f"{what} cannot be fetched: {detail}; check the URI and the network.", transient=True
        )
