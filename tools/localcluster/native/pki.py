"""Certificates and kubeconfigs for one control plane: a private authority, made with openssl.

Everything is an EC key on P-256: a certificate takes milliseconds where RSA would take the better part of a second.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.localcluster.system.shell import run

_DAYS = "3650"


@dataclass(frozen=True)
class KeyPair:
    """Two PEM files: a certificate and its private key."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority that lives in `folder`; made on first use, kept afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cert = folder / "ca.crt"
        self._key = folder / "ca.key"

    def ensure(self) -> None:
        """Make the authority unless it is there."""
        if self.cert.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        part = self.folder / "ca.crt.part"
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", self._key, "-out", part, "-days", _DAYS, "-subj", "/CN=edgemodel-local"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"),
        )
        part.rename(self.cert)

    def issue(self, name: str, common_name: str, organization: str = "", addresses: Sequence[str] = ()) -> KeyPair:
        """The key pair called `name`, made unless it is there.

        Args:
            common_name: to Kubernetes the user's name.
            organization: to Kubernetes the user's group.
            addresses: `IP:…` and `DNS:…` entries that a server answers to; the certificate serves clients too.
        """
        pair = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.cert.exists():
            return pair
        subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if addresses:
            extensions.append(f"subjectAltName={','.join(addresses)}")
        request = run(
            *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", pair.key, "-subj", subject),
        ).stdout
        part = self.folder / f"{name}.crt.part"
        extension_file = self.folder / f"{name}.ext"
        extension_file.write_text("\n".join(extensions) + "\n")
        run(
            *("openssl", "x509", "-req", "-CA", self.cert, "-CAkey", self._key, "-CAcreateserial"),
            *("-CAserial", self.folder / f"{name}.srl", "-days", _DAYS, "-extfile", extension_file, "-out", part),
            input=request,
        )
        extension_file.unlink()
        part.rename(pair.cert)
        return pair

    def signing_key(self, name: str) -> Path:
        """A bare private key, made unless it is there (Kubernetes signs service account tokens with one)."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            part = self.folder / f"{name}.key.part"
            # Not `genpkey`: kube-apiserver derives the public key from the older "EC PRIVATE KEY" form alone.
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", part)
            part.rename(path)
        return path


def write_kubeconfig(path: Path, server: str, ca: Path, user: KeyPair | str, namespace: str = "default") -> Path:
    """Write a kubeconfig that needs no other file.

    Args:
        server: the API server's URL.
        user: a client key pair or a bearer token.
    """
    if isinstance(user, KeyPair):
        credentials = {"client-certificate-data": _base64(user.cert), "client-key-data": _base64(user.key)}
    else:
        credentials = {"token": user}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "edgemodel", "cluster": {"server": server, "certificate-authority-data": _base64(ca)}}],
        "users": [{"name": "user", "user": credentials}],
        "contexts": [
            {"name": "edgemodel", "context": {"cluster": "edgemodel", "user": "user", "namespace": namespace}}
        ],
        "current-context": "edgemodel",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.touch(mode=0o600)
    # JSON is YAML: what kubectl reads, without a YAML writer.
    part.write_text(json.dumps(document, indent=2) + "\n")
    part.rename(path)
    return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
