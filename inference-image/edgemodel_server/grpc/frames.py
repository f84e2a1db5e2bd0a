"""HTTP/2 in bytes (RFC 9113, 4 and 6): the frames, and what can be wrong with them."""

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER = Struct(">BHBBI")
"""Of a frame: length in two parts, kind, flags, stream."""
LARGEST_STREAM = 2**31 - 1
LARGEST_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65535
DEFAULT_FRAME_BYTES = 16384
LARGEST_FRAME_BYTES = 2**24 - 1

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

_NUMBER = Struct(">I")
_SETTING = Struct(">HI")


class Kind(IntEnum):
    """Types of frames; others are ignored."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Names of settings; others are ignored."""

    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFaultError(Exception):
    """The client broke the protocol, or asks too much of it: the connection ends."""

    def __init__(self, code: Code, sentence: str) -> None:
        """The sentence goes to the client, too."""
        super().__init__(sentence)
        self.code = code


class StreamFaultError(Exception):
    """The same where one stream ends and the others go on."""

    def __init__(self, code: Code) -> None:
        """There is no room for a sentence."""
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """One frame."""
    size = len(content)
    return HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + content


def settings(values: dict[Setting, int]) -> bytes:
    """A frame of settings."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in values.items()))


def read_settings(content: bytes) -> list[tuple[int, int]]:
    """The settings of a frame. Raises ConnectionFaultError unless it is whole and its values are allowed."""
    if len(content) % _SETTING.size:
        raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, "SETTINGS is no multiple of 6 bytes")
    found = list(_SETTING.iter_unpack(content))
    for name, value in found:
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        if name == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFaultError(Code.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE is {value}")
        if name == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= LARGEST_FRAME_BYTES:
            raise ConnectionFaultError(Code.PROTOCOL_ERROR, f"MAX_FRAME_SIZE is {value}")
    return found


def reset(stream: int, code: Code) -> bytes:
    """A frame that ends a stream."""
    return frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(code))


def go_away(last: int, code: Code, sentence: str = "") -> bytes:
    """A frame that says that streams after ``last`` are not served."""
    return frame(Kind.GOAWAY, 0, 0, _NUMBER.pack(last) + _NUMBER.pack(code) + sentence.encode()[:200])


def window_update(stream: int, size: int) -> bytes:
    """A frame that lets the client send ``size`` bytes more."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, _NUMBER.pack(size))


def read_number(content: bytes, kind: Kind) -> int:
    """The 31 bits that are the content of a frame. Raises ConnectionFaultError if it has another size."""
    if len(content) != _NUMBER.size:
        raise ConnectionFaultError(Code.FRAME_SIZE_ERROR, f"{kind.name} has {len(content)} bytes, not 4")
    number: int = _NUMBER.unpack(content)[0]
    return number & LARGEST_STREAM


def unpadded(content: bytes, flags: int) -> bytes:
    """The content of a frame without its padding. Raises ConnectionFaultError if there is less than it says."""
    if not flags & PADDED:
        return content
    if not content or content[0] >= len(content):
        raise ConnectionFaultError(Code.PROTOCOL_ERROR, "the padding is larger than its frame")
    return content[1 : len(content) - content[0]]
