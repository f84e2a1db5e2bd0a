"""Request bodies, bounded in bytes and in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from edgemodel_server.errors import BodyTimeoutError, TooLargeError, UnavailableError, UnsupportedContentError, shown

DISCARD_FACTOR = 4
"""A body up to this many times the limit is read to its end and thrown away, because a client that is still sending
when the connection closes may never see the answer."""


class BodyReader:
    """Reads bodies of at most ``limit`` bytes within ``timeout`` seconds, ``total`` bytes of all requests at a time."""

    def __init__(self, limit: int, total: int, timeout: float) -> None:
        """Nothing is held yet."""
        self._limit = limit
        self._total = max(total, limit)
        self._timeout = timeout
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body; it counts against the total until the block is left.

        Raises:
            UnsupportedContentError: the body is compressed.
            TooLargeError: over the limit.
            UnavailableError: over the total of all requests.
            BodyTimeoutError: not complete in time.
            ClientDisconnect: the client has gone.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.lower() != "identity":
            raise UnsupportedContentError(f"Content-Encoding is {shown(coding)}; send the body uncompressed")
        chunks: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._timeout):
                    declared = int(request.headers.get("content-length", 0))
                    if declared > self._limit:
                        await self._discard(request, declared)
                    async for chunk in self._chunks(request):
                        size += len(chunk)
                        self._held += len(chunk)
                        chunks.append(chunk)
                        if size > self._limit:
                            chunks.clear()
                            await self._discard(request, size)
                        if self._held > self._total:
                            raise UnavailableError(
                                "the requests being read fill the memory set aside; try again in a moment"
                            )
            except TimeoutError as error:
                raise BodyTimeoutError(f"the body did not arrive within {self._timeout:g} seconds") from error
            yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
        finally:
            self._held -= size

    async def _discard(self, request: Request, declared: int) -> None:
        read = 0
        waits_for_permission = "expect" in request.headers
        if not waits_for_permission and declared <= DISCARD_FACTOR * self._limit:
            async for chunk in self._chunks(request):
                read += len(chunk)
                if read > DISCARD_FACTOR * self._limit:
                    break
        raise TooLargeError(f"the body is larger than {self._limit} bytes; send less, or raise EDGEMODEL_MAX_BODY")

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                return
