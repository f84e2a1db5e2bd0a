"""Certificates from a folder, as a mounted Secret has them, for HTTP and gRPC; read again when they change."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from edgemodel_server.access.watching import Watched

logger = logging.getLogger(__name__)

CERTIFICATE = "tls.crt"
KEY = "tls.key"
CLIENT_AUTHORITY = "ca.crt"


class CertificateError(Exception):
    """The folder has no usable certificate; the message is a sentence that says what to do."""


@dataclass(frozen=True)
class Material:
    """One state of the folder, as PEM. ``authority`` None: clients need no certificate."""

    certificate: bytes
    key: bytes
    authority: bytes | None


class Certificates:
    """The certificate in use. Whether clients must show one of their own is decided once, at start."""

    def __init__(self, folder: Path) -> None:
        """Read the folder.

        Raises:
            CertificateError: no certificate, no key, or they do not belong together.
        """
        self._folder = Watched(folder)
        self._material = read_material(folder)
        self._current = new_context(folder)
        self._entry = self._new_entry(folder)

    @property
    def context(self) -> ssl.SSLContext:
        """For a listener: each handshake uses the certificate that is current then."""
        return self._entry

    @property
    def material(self) -> Material:
        """The current one. The same object as before means the same certificate."""
        return self._material

    def refresh(self, now: float) -> bool:
        """Read the folder again if it changed, and say whether a new certificate is in use; an unusable one is not, nor
        what was read while the folder went on changing: that is read again at the next call."""
        if not self._folder.changed(now):
            return False
        try:
            material = read_material(self._folder.path)
            current = new_context(self._folder.path)
        except CertificateError as error:
            if not self._folder.has_moved:
                logger.error("%s; the certificate read before stays in use", error)
            return False
        if self._folder.has_moved:
            return False
        if (material.authority is None) != (self._material.authority is None):
            logger.error("%s came or went in %s; restart the server", CLIENT_AUTHORITY, self._folder.path)
            return False
        self._material, self._current = material, current
        return True

    def _new_entry(self, folder: Path) -> ssl.SSLContext:
        def use_current(connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = self._current

        entry = new_context(folder)
        entry.sni_callback = use_current
        return entry


class PeerTls:
    """For connections to replicas that mount the same folder: what they show must be the certificate in it.

    No name is checked and no authority asked: whoever has this certificate's key is a replica.
    """

    def __init__(self, folder: Path) -> None:
        """Read the folder.

        Raises:
            CertificateError: no certificate, no key, or they do not belong together.
        """
        self._folder = Watched(folder)
        self._context = peer_context(folder)

    def context(self, now: float) -> ssl.SSLContext:
        """The current one; read again when the folder changed, if what is there can be used."""
        if self._folder.changed(now):
            try:
                self._context = peer_context(self._folder.path)
            except CertificateError as error:
                logger.error("%s; the certificate read before stays in use for peers", error)
        return self._context


def read_material(folder: Path) -> Material:
    """The files of the folder. Raises CertificateError if one of the first two is missing."""
    try:
        authority = folder / CLIENT_AUTHORITY
        return Material(
            (folder / CERTIFICATE).read_bytes(),
            (folder / KEY).read_bytes(),
            authority.read_bytes() if authority.exists() else None,
        )
    except OSError as error:
        raise CertificateError(
            f"cannot read {error.filename} ({error.strerror}): set EDGEMODEL_TLS_DIR to a folder with "
            f"{CERTIFICATE} and {KEY}"
        ) from error


def new_context(folder: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with the folder's certificate, for HTTP/1.1. Raises CertificateError if it cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        if (folder / CLIENT_AUTHORITY).exists():
            context.load_verify_locations(folder / CLIENT_AUTHORITY)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"the certificate in {folder} cannot be used ({error.strerror or error}): {CERTIFICATE} and {KEY} must be "
            "PEM and belong together"
        ) from error
    return context


def peer_context(folder: Path) -> ssl.SSLContext:
    """A client's, that shows the folder's certificate and trusts it alone. Raises CertificateError likewise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    # A certificate that is no authority's can be trusted for itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        context.load_verify_locations(cadata=leaf((folder / CERTIFICATE).read_text()))
    except (OSError, ValueError, ssl.SSLError) as error:
        raise CertificateError(f"the certificate in {folder} cannot be used for peers: {error}") from error
    return context


def leaf(chain: str) -> str:
    """The first certificate of a PEM file, which is the server's own. Raises ValueError if there is none."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start = chain.index(begin)
    return chain[start : chain.index(end, start) + len(end)] + "\n"
