"""Content codings of HTTP: gzip and deflate, bounded."""

import zlib
from collections.abc import Iterable

from edgemodel_server.errors import BadRequestError, TooLargeError, UnsupportedContentError, shown
from edgemodel_server.protocol.memory import Memory

CODINGS = ("gzip", "deflate")
_LEVEL = 1
"""Tensors of measurements hardly compress: the fastest level takes nearly all there is."""
_PIECE_BYTES = 1024 * 1024
"""Packed or unpacked at a time, and charged."""
_WINDOW = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


def coding_of(header: str) -> str | None:
    """The coding that Content-Encoding names; None where the body is as it is.

    Raises:
        UnsupportedContentError: another coding, or several one over the other.
    """
    coding = header.strip().lower()
    coding = {"x-gzip": "gzip", "": "identity"}.get(coding, coding)
    if coding == "identity":
        return None
    if coding not in CODINGS:
        raise UnsupportedContentError(f"Content-Encoding is {shown(header)}; send {', '.join(CODINGS)} or identity")
    return coding


def coding_of_message(content: bytes) -> str | None:
    """The coding that a message of gRPC is under: none of this server's begins as one of those does."""
    if content[:2] == b"\x1f\x8b":
        return "gzip"
    return "deflate" if content[:1] == b"\x78" and _has_zlib_header(content) else None


def decompress(body: bytes | bytearray | memoryview, coding: str, limit: int, memory: Memory) -> bytes:
    """``body`` without its coding; never more than ``limit`` bytes. ``memory`` is charged with it as it grows.

    Raises:
        TooLargeError: it would have more than ``limit`` bytes.
        BadRequestError: it is damaged, or something follows it.
        RequestError: there is no memory for it.
    """
    window = _WINDOW[coding]
    if coding == "deflate" and not _has_zlib_header(body):
        window = -zlib.MAX_WBITS  # many clients send the bare stream, which RFC 9110 notes
    decoder = zlib.decompressobj(window)
    # Not one that grows: each time, it would leave a hole in memory that is too small for the next.
    pieces: list[bytes] = []
    size = 0
    left: bytes | bytearray | memoryview = body
    while left and not decoder.eof:
        try:
            piece = decoder.decompress(left, _PIECE_BYTES)
        except zlib.error as error:
            raise BadRequestError(f"the body is not {coding}, as Content-Encoding says: {error}") from error
        size += len(piece)
        if size > limit:
            raise TooLargeError(
                f"the body is larger than {limit} bytes when unpacked; send less, or raise EDGEMODEL_MAX_BODY"
            )
        memory.hold(len(piece))
        pieces.append(piece)
        left = decoder.unconsumed_tail
    if not decoder.eof or decoder.unused_data:
        what = "goes on after its end" if decoder.eof else "ends early"
        raise BadRequestError(f"the body is not {coding}, as Content-Encoding says: it {what}")
    return b"".join(pieces)


def compress(
    parts: Iterable[bytes | memoryview], coding: str, memory: Memory | None = None
) -> list[bytes | memoryview]:
    """The parts, one after the other, under ``coding``. ``memory`` is charged with what becomes of them; None: nothing
    is, for parts that are known to be small.

    Raises:
        RequestError: there is no memory for it.
    """
    encoder = zlib.compressobj(_LEVEL, wbits=_WINDOW[coding])
    pieces: list[bytes | memoryview] = []
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            pieces.append(encoder.compress(view[start : start + _PIECE_BYTES]))
            if memory is not None:
                memory.hold(len(pieces[-1]))
    pieces.append(encoder.flush())
    return pieces if memory is not None else [b"".join(pieces)]


def accepted(header: str) -> str | None:
    """The coding that Accept-Encoding likes best of those there are (RFC 9110, 12.5.3); None for none of them."""
    weights: dict[str, float] = {}
    for item in header.split(","):
        name, _, options = item.partition(";")
        key, _, value = options.strip().partition("=")
        try:
            weight = float(value) if key.strip().lower() == "q" else 1.0
        except ValueError:
            weight = 0.0
        weights[name.strip().lower()] = weight
    offered = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=lambda coding: offered[coding])
    plain = weights.get("identity", 0.0)
    return best if offered[best] > 0 and offered[best] >= plain else None


def _has_zlib_header(body: bytes | bytearray | memoryview) -> bool:
    """RFC 1950, 2.2: method 8, and the first two bytes as a number are a multiple of 31."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
