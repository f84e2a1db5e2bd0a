"""What a source URI is, and how it may be shown: without user names, passwords, or signed query strings."""

from urllib.parse import urlsplit

SCHEMES = ("oci", "https", "http", "pvc", "hf")


def scheme_of(uri: str) -> str | None:
    """The scheme of a URI, or None for a local path."""
    head, found, _ = uri.partition("://")
    return head.lower() if found else None


def public_uri(uri: str) -> str:
    """``uri`` without credentials and query."""
    if scheme_of(uri) is None:
        return uri
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
