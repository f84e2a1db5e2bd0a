"""Contents of requests, encoded by hand: what is sent depends on no code of the server's."""

import struct
import zlib

SERVICE = "inference.GRPCInferenceService"
MODEL_INFER = f"/{SERVICE}/ModelInfer"
MODEL_READY = f"/{SERVICE}/ModelReady"
READY_MESSAGE = b"\x0a\x06digits"
"""A ModelReadyRequest."""


def infer_message(identifier: str) -> bytes:
    """A ModelInferRequest to the small model, recognized in the answer by its id."""
    tensor = _text(1, "x") + _text(2, "FP32") + b"\x18\x01\x18\x04"
    row = bytes.fromhex("0000803f000000400000404000008040")
    return _text(1, "digits") + _text(3, identifier) + _bytes(5, tensor) + _bytes(7, row)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes((*content, value))


def tiny_image() -> bytes:
    """A PNG of 8 × 8 pixels."""
    return png(8, 8)


def png(width: int, height: int) -> bytes:
    """A black PNG with one bit a pixel: a thousandth of its pixels in bytes."""
    row = b"\x00" + bytes((width + 7) // 8)
    packer = zlib.compressobj(9)
    content = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = b"".join(_chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + chunks


def resized(image: bytes, width: int, height: int) -> bytes:
    """The PNG ``image``, but it says that it has another size."""
    header = struct.pack(">II", width, height) + image[24:29]
    return image[:8] + _chunk(b"IHDR", header) + image[33:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
