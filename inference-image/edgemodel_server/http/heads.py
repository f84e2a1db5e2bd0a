"""Heads of requests that the parser has read before: it would read the same bytes in the same way again.

Clients send the same line and headers with every request, and to parse them takes longer than to recognize them.
"""

from dataclasses import dataclass

from edgemodel_server.http.wire import Request

MOST_HEADS = 256
"""Bodies of JSON differ in length by some digits, and so do the heads that say how long they are."""
MOST_BYTES = 2048
"""Of one head."""
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Known:
    """A head of ``size`` bytes, its request, and how long the body is that follows."""

    size: int
    request: Request
    length: int


class Heads:
    """What is known of ``MOST_HEADS`` heads at most; beyond that it begins anew."""

    def __init__(self) -> None:
        """None is known."""
        self._known: dict[bytes, Known] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    def find(self, content: bytearray, count: int) -> Known | None:
        """The head with which the first ``count`` bytes of ``content`` begin, where no more follows than its body, or
        a part of that; None: the parser has to say what they are.

        They must be the first after the end of another request, or of the connection.
        """
        known = self._known.get(_head(content, count))
        return known if known is not None and count - known.size <= known.length else None

    def learn(self, content: bytearray, count: int, request: Request, body: bytes | bytearray) -> None:
        """The parser was given ``count`` bytes, as ``find`` is, and gave ``request`` and ``body``, perhaps among more.

        Nothing is learnt unless they are that one request, with a body whose length its head says, or a part of that:
        then the head alone decides, and not the body, how the parser reads them.
        """
        head, length = _head(content, count), request.length
        if not head or length is None or len(body) > length or content[len(head) : count] != body:
            return
        if any(name == b"upgrade" for name, _ in request.headers):
            return
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[head] = Known(len(head), request, length)


def _head(content: bytearray, count: int) -> bytes:
    """Up to the empty line; nothing where that does not come soon."""
    end = content.find(_END, 0, min(count, MOST_BYTES))
    return b"" if end < 0 else bytes(memoryview(content)[: end + len(_END)])
