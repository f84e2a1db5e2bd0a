"""Who may send requests, and how many: one file per client in a folder, its content the client's key."""

import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from edgemodel_server.access.watching import Watched
from edgemodel_server.errors import RateLimitedError, UnauthorizedError

logger = logging.getLogger(__name__)

MAX_KEY_BYTES = 64 * 1024
"""Of one key: a JSON Web Token has its room, a file that is none is not read."""
MAX_CLIENTS = 4096
"""Clients whose rate is remembered; beyond it the one seen longest ago starts anew."""
BURST_SECONDS = 1.0
"""What a client has not used of its rate it may catch up on, for this long."""


class Keys:
    """The clients' keys by the files of ``folder``, read again when they change; None: everybody may.

    ``rate`` is how many requests a client may send in a second; 0: as many as it likes. Without a folder a client is
    an address.
    """

    def __init__(self, folder: Path | None, rate: float) -> None:
        """Read the folder.

        Raises:
            OSError: it cannot be read.
        """
        self._folder = Watched(folder) if folder else None
        self._rate = rate
        self._clients: dict[bytes, str] = {}
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        if folder:
            self._clients = read_keys(folder)

    @property
    def active(self) -> bool:
        """Whether ``check`` could refuse anything."""
        return self._folder is not None or self._rate > 0

    def check(self, headers: Mapping[bytes, bytes], address: str) -> str:
        """The client that sent ``headers``; counts one request of its rate.

        Raises:
            UnauthorizedError: no key, or one that no client has.
            RateLimitedError: the client's rate is used up.
        """
        client = self.client(headers) if self._folder else address
        if self._rate:
            self._count(client)
        return client

    def client(self, headers: Mapping[bytes, bytes]) -> str:
        """The client whose key the headers show: as bearer token, as X-API-Key, or as password, which browsers ask for.

        Raises:
            UnauthorizedError: no key, or one that no client has.
        """
        if self._folder is None:
            return ""
        key = shown_key(headers)
        if key is None:
            raise UnauthorizedError("a key is needed: send it as Authorization: Bearer, or as X-API-Key")
        self._refresh(self._folder)
        digest, found = hashlib.sha256(key).digest(), None
        # Every key is compared, and none faster than another, so that time tells nothing.
        for known, client in self._clients.items():
            if hmac.compare_digest(known, digest):
                found = client
        if found is None:
            raise UnauthorizedError("the key is not one that this server knows")
        return found

    def _refresh(self, folder: Watched) -> None:
        if not folder.changed(time.monotonic()):
            return
        try:
            self._clients = read_keys(folder.path)
            logger.info("keys read again", extra={"clients": len(self._clients)})
        except OSError as error:
            logger.error("cannot read the keys in %s (%s); those read before stay", folder.path, error.strerror)

    def _count(self, client: str) -> None:
        bucket = self._buckets.pop(client, None) or Bucket(self._rate)
        self._buckets[client] = bucket
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        seconds = bucket.take(time.monotonic())
        if seconds:
            raise RateLimitedError(
                f"more than {self._rate:g} requests per second; try again in {seconds:.3f} seconds", seconds
            )


class Bucket:
    """A token bucket: ``rate`` tokens per second flow in, and it holds what flows in BURST_SECONDS, at least one."""

    def __init__(self, rate: float) -> None:
        """Full."""
        self._rate = rate
        self._size = max(1.0, rate * BURST_SECONDS)
        self._tokens = self._size
        self._at = float("-inf")

    def take(self, now: float) -> float:
        """Take a token. 0 if there was one, or else the seconds until there is."""
        if now > self._at:
            self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
            self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0


def read_keys(folder: Path) -> dict[bytes, str]:
    """SHA-256 of each key to its client's name, the file's. Empty files, and those that begin with a dot, are none.

    Raises:
        OSError: the folder cannot be read.
    """
    clients: dict[bytes, str] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        with file.open("rb") as stream:
            key = stream.read(MAX_KEY_BYTES + 1).strip()
        if key and len(key) <= MAX_KEY_BYTES:
            clients[hashlib.sha256(key).digest()] = file.name
    return clients


def shown_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key in the headers, whose names are in lower case; None if there is none."""
    key = headers.get(b"x-api-key")
    if key is not None:
        return key.strip()
    scheme, _, value = headers.get(b"authorization", b"").strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return None
    return None
