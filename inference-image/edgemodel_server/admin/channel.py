"""Messages from the server to the process that answers for it: a kind, a length, and that many bytes.

The other way go single bytes, each asking for metrics. Of the standard library alone: both processes import it.
"""

import struct
from collections.abc import Callable

STATE = 1
"""JSON: ``{"ready": …, "error": …}``. Any message shows that the server's event loop runs; this one comes regularly."""
METRICS = 2
"""The text that Prometheus reads."""
ASK = b"?"

_HEAD = struct.Struct("<BI")


def encode(kind: int, content: bytes) -> bytes:
    """The bytes of one message."""
    return _HEAD.pack(kind, len(content)) + content


def read(receive: Callable[[int], bytes]) -> tuple[int, bytes] | None:
    """The next message; None at the end. ``receive`` gives so many bytes, or fewer where there will be no more."""
    head = receive(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    content = receive(length)
    return None if len(content) < length else (kind, content)
