"""Bytes to request heads and bodies in chunks: llhttp, the parser of Node.js, by way of httptools, and what it leaves
to its caller: everything that two readers of the same bytes could understand in two ways is refused (RFC 9112, 11.2).
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote

import httptools

from edgemodel_server.http.wire import Header, ProtocolError, Request

HEAD_END = b"\r\n\r\n"
HEADER_BYTES = 64 * 1024
"""Of one request's line and headers."""
FRAMING_BYTES = 16 * 1024
"""Of a body in chunks: what may come between two pieces of it, or after the last: sizes, extensions, trailers."""
LENGTH_DIGITS = 18
"""More digits than this has no length of a body."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.[01])\r\n")
_METHOD = re.compile(_TOKEN + rb"(?: |\Z)")
_OTHER_VERSION = re.compile(_TOKEN + rb" [^ \r\n]+ HTTP/(?!1\.[01])\d\.\d\r\n")
_LONE_BREAK = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_IGNORED_UPGRADE = b"x-ignored-upgrade"
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::\d*)?")
_ONCE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"x-api-key"})
"""Headers of which only one of two could count, and another reader might take the other one."""
_CHUNKED_HEAD = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"


def read_head(content: bytes) -> Request:
    """The request whose line and headers ``content`` is, from the first byte to the empty line.

    Raises:
        ProtocolError: it is none, or not without doubt, or larger than HEADER_BYTES.
    """
    _check_size(content)
    line = _REQUEST_LINE.match(content)
    if line is None:
        raise _bad_line(content)
    method, url, version = line.groups()
    if method == b"CONNECT":
        raise ProtocolError(400, "CONNECT is not for this server: it is no proxy")
    parser = _HeadParser()
    parser.read(content)
    headers = parser.headers
    values = _values(headers)
    hosts = values.get(b"host", ())
    if len(hosts) != 1 and (hosts or version == b"1.1"):
        raise ProtocolError(400, f"the request has {len(hosts)} Host headers; send one")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise ProtocolError(400, "the Host header is no host name")
    for name in _ONCE & values.keys():
        if len(values[name]) > 1:
            raise ProtocolError(400, f"the header {name.decode()} comes more than once")
    raw, query = _target(url)
    path = raw.decode("latin-1")
    return Request(
        method,
        unquote(path) if "%" in path else path,
        query,
        raw,
        tuple(headers),
        version.decode(),
        parser.keep_alive,
        _length(values, version),
        any(value.lower() == b"100-continue" for value in values.get(b"expect", ())),
        dict(headers),
    )


def check_begin(content: bytes, start: int) -> None:
    """Raise ProtocolError if ``content``, a head that is not complete, can become none, whatever follows. What comes
    before ``start`` was checked before."""
    _check_size(content)
    lone = _LONE_BREAK.search(content, max(0, start - 1))
    if lone is not None:
        raise ProtocolError(400, "a line of the request does not end with a carriage return and a line feed")
    if b"\r\n" in content:
        if _REQUEST_LINE.match(content) is None:
            raise _bad_line(content)
    elif _METHOD.match(content) is None and content != b"\r":
        raise _bad_line(content)


def _check_size(head: bytes) -> None:
    if len(head) > HEADER_BYTES:
        raise ProtocolError(431, f"the headers are larger than {HEADER_BYTES} bytes")


class ChunkedBody:
    """A body in chunks, read piece by piece. Trailers are read and forgotten."""

    def __init__(self) -> None:
        """A body of which nothing was read yet."""
        self.is_complete = False
        self._pieces: list[bytes] = []
        self._last = b""
        """The last bytes read, which may be the begin of an empty line."""
        self._framing = 0
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)

    def feed(self, content: bytes | bytearray | memoryview) -> tuple[bytes, int]:
        """The part of the body that is in ``content``, and how many bytes of it belong to the body and its framing; all
        of them unless the body is complete.

        Raises:
            ProtocolError: these are no chunks, or too much that is none.
        """
        content = bytes(content)
        joined, known = self._last + content, len(self._last)
        begin = 0
        # A body ends with an empty line. The parser, which cannot stop, gets no more than up to the next of them.
        while begin < len(content) and not self.is_complete:
            found = joined.find(HEAD_END, max(0, begin + known - len(HEAD_END) + 1))
            end = len(content) if found < 0 else found + len(HEAD_END) - known
            self._feed(content[begin:end])
            begin = end
        self._last = joined[known + begin - 3 : known + begin] if known + begin >= 3 else joined[: known + begin]
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body, begin

    def _feed(self, content: bytes) -> None:
        had = len(self._pieces)
        try:
            self._parser.feed_data(content)
        except httptools.HttpParserError as error:
            raise ProtocolError(400, f"the chunks of the body cannot be read: {error}") from error
        self._framing = self._framing + len(content) if len(self._pieces) == had else 0
        if self._framing > FRAMING_BYTES:
            raise ProtocolError(431, f"more than {FRAMING_BYTES} bytes between two pieces of the body, or after it")

    # What the parser calls

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The last chunk and the trailers are read."""
        self.is_complete = True


class _HeadParser:
    """Collects what llhttp finds in one head."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.keep_alive = False
        self._is_complete = False
        self._parser = httptools.HttpRequestParser(self)

    def read(self, content: bytes) -> None:
        # httptools takes a request that offers an upgrade for one without a body (its issue 124), whether or not
        # anybody takes up the offer. Nobody does here: the parser never learns of it.
        if _UPGRADE.search(content) is not None:
            content = _UPGRADE.sub(b"\r\n" + _IGNORED_UPGRADE + b":", content)
        try:
            self._parser.feed_data(content)
        except httptools.HttpParserError as error:
            raise ProtocolError(400, f"this is not HTTP as this server reads it: {error}") from error
        if not self._is_complete:
            raise ProtocolError(400, "this is not HTTP as this server reads it")

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        if name != _IGNORED_UPGRADE:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_complete = True
        self.keep_alive = self._parser.should_keep_alive()


def _values(headers: Sequence[Header]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return values


def _length(values: dict[bytes, list[bytes]], version: bytes) -> int | None:
    codings, lengths = values.get(b"transfer-encoding"), values.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            raise ProtocolError(400, "the request has both Transfer-Encoding and Content-Length")
        if version == b"1.0":
            raise ProtocolError(400, "there is no Transfer-Encoding in HTTP/1.0")
        if [value.lower() for value in codings] != [b"chunked"]:
            raise ProtocolError(501, "the only Transfer-Encoding that this server reads is chunked")
        return None
    if lengths is None:
        return 0
    if not lengths[0].isdigit() or len(lengths[0]) > LENGTH_DIGITS:
        raise ProtocolError(400, "the Content-Length is no number of bytes")
    return int(lengths[0])


def _target(url: bytes) -> tuple[bytes, bytes]:
    """Raw path and query. Raises ProtocolError if it is neither a path nor a URL."""
    if not url.startswith(b"/"):
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            parsed = None
        if parsed is None or not parsed.schema or not parsed.host:
            raise ProtocolError(400, "the request's target is neither a path nor a URL")
        return parsed.path or b"/", parsed.query or b""
    raw, _, query = url.partition(b"?")
    return raw, query


def _bad_line(content: bytes) -> ProtocolError:
    if _OTHER_VERSION.match(content) is not None:
        return ProtocolError(505, "this server speaks HTTP/1.1 and HTTP/1.0")
    return ProtocolError(400, "this is not HTTP as this server reads it: no method, target and version on one line")
