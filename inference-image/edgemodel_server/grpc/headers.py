"""HTTP/2's header blocks: read with a memory for those that come again and again, written without any state."""

from collections.abc import Iterable
from urllib.parse import quote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError

from edgemodel_server.grpc.frames import Code, ConnectionFaultError, StreamFaultError

LIST_BYTES = 16 * 1024
"""Of all names and values of a block, with 32 for each, as MAX_HEADER_LIST_SIZE counts."""
REMEMBERED_BLOCKS = 32
REMEMBERED_BYTES = 1024
"""Of one block."""

Headers = dict[bytes, bytes]

_ONCE = {b":method", b":scheme", b":path", b":authority"}
_NEEDED = (b":method", b":scheme", b":path")
_OF_CONNECTIONS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
_UPPER = frozenset(range(ord("A"), ord("Z") + 1))
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class HeaderReader:
    """Header blocks of one connection, in the order in which they come."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._decoder = Decoder(max_header_list_size=LIST_BYTES)
        self._known: dict[bytes, Headers] = {}

    def read(self, block: bytes, *, trailers: bool = False) -> Headers:
        """The fields of a block; of those that come more than once, the last counts. The caller must not change them.

        Raises:
            ConnectionFaultError: it cannot be read, and so none that follows can.
            StreamFaultError: it can be read but is no request.
        """
        # The same block says the same as long as the table that it refers to has not changed.
        known = self._known.get(block)
        if known is not None and not trailers:
            return known
        entries = self._decoder.header_table.dynamic_entries
        before = (len(entries), entries[0] if entries else None)
        try:
            fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            sentence = f"the headers have more than {LIST_BYTES} bytes"
            raise ConnectionFaultError(Code.ENHANCE_YOUR_CALM, sentence) from error
        except HPACKError as error:
            raise ConnectionFaultError(Code.COMPRESSION_ERROR, "the headers cannot be decoded") from error
        resizes = block[:1] and block[0] & 0xE0 == 0x20
        changed = resizes or len(entries) != before[0] or (entries and entries[0] is not before[1])
        if changed:
            self._known.clear()
        headers = _checked(fields, trailers=trailers)
        if not changed and not trailers and len(block) <= REMEMBERED_BYTES:
            if len(self._known) >= REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[block] = headers
        return headers


def _checked(fields: Iterable[tuple[bytes, bytes]], *, trailers: bool) -> Headers:
    """RFC 9113, 8.2 and 8.3. Raises StreamFaultError for what is no request."""
    headers: Headers = {}
    regular = trailers
    for name, value in fields:
        if name[:1] == b":":
            if regular or name not in _ONCE or name in headers:
                raise StreamFaultError(Code.PROTOCOL_ERROR)
        else:
            regular = True
            if not name or name in _OF_CONNECTIONS or not _UPPER.isdisjoint(name):
                raise StreamFaultError(Code.PROTOCOL_ERROR)
        if b"\0" in value or b"\r" in value or b"\n" in value:
            raise StreamFaultError(Code.PROTOCOL_ERROR)
        headers[name] = value
    if not trailers and not all(headers.get(name) for name in _NEEDED):
        raise StreamFaultError(Code.PROTOCOL_ERROR)
    return headers


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block that neither needs the client's table nor changes it."""
    return bytes(Encoder().encode([NeverIndexedHeaderTuple(*field) for field in fields], huffman=False))


def escaped(sentence: str) -> str:
    """As grpc-message has it: what is not printable ASCII as percent and hexadecimal digits of its UTF-8."""
    return quote(sentence, safe=_PRINTABLE)
