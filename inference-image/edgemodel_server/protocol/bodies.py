"""Request bodies, bounded in bytes and in time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect

from edgemodel_server.errors import BodyTimeoutError, TooLargeError
from edgemodel_server.protocol.calls import Call, ReadInto
from edgemodel_server.protocol.coding import coding_of, decompress

DISCARD_FACTOR = 4
"""A body up to this many times the limit is read to its end and thrown away, because a client that is still sending
when the connection closes may never see the answer."""
INLINE_BYTES = 64 * 1024
"""Bodies and answers up to this size are worked on in the event loop: handing them over costs more."""

UNPACKED_BYTES = 1024 * 1024
"""Of a large body, set aside at a time: it counts as it comes, not as it is announced."""

Body = bytes | bytearray | memoryview
Offload = Callable[..., Awaitable[Any]]


class BodyReader:
    """Reads bodies of at most ``limit`` bytes within ``timeout`` seconds. The lease of each request is charged."""

    def __init__(self, limit: int, timeout: float, offload: Offload) -> None:
        """``offload`` runs a function away from the event loop."""
        self.offload = offload
        self.limit = limit
        self.timeout = timeout

    def read(self, call: Call) -> "Reading":
        """The whole body of ``call``, as an asynchronous context; its lease is charged until that is left."""
        return Reading(self, call)


class Reading:
    """One body being read and used."""

    __slots__ = ("_call", "_held", "_reader")

    def __init__(self, reader: BodyReader, call: Call) -> None:
        """Nothing is read yet."""
        self._reader = reader
        self._call = call
        self._held = 0

    async def __aenter__(self) -> Body:
        """The whole body, without its content coding.

        Raises:
            UnsupportedContentError: it is under a coding that this server does not know.
            BadRequestError: it is not what its coding says.
            TooLargeError: over the limit, as it came or unpacked.
            RequestError: the lease has no room for it.
            BodyTimeoutError: not complete in time.
            ClientDisconnect: the client has gone.
        """
        try:
            coding = coding_of(self._call.header(b"content-encoding", "identity"))
            body = await self._read()
            return body if coding is None else await self._unpack(body, coding)
        except BaseException:
            self._call.lease.release(self._held)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The body is done with."""
        self._call.lease.release(self._held)

    async def _read(self) -> Body:
        limit, timeout = self._reader.limit, self._reader.timeout
        try:
            async with asyncio.timeout(timeout):
                declared = self._call.length(b"content-length") or 0
                if declared > limit:
                    await self._discard(declared)
                chunk, more = await self._chunk()
                if not more and len(chunk) <= limit:
                    self.hold(len(chunk))
                    return chunk
                if declared and self._call.read_into is not None:
                    return await self._read_into(declared, chunk, self._call.read_into)
                body = bytearray()
                size = 0
                while True:
                    size += len(chunk)
                    if size > limit:
                        await self._discard(size)
                    self.hold(len(chunk))
                    body += chunk
                    if not more:
                        return body
                    chunk, more = await self._chunk()
        except TimeoutError as error:
            raise BodyTimeoutError(f"the body did not arrive within {timeout:g} seconds") from error

    async def _read_into(self, length: int, begin: bytes, read_into: ReadInto) -> memoryview:
        """A body of ``length`` bytes in memory that was never anywhere else, and whose pages are taken as they are
        filled; ``begin`` is there already."""
        body = np.empty(length, np.uint8).data
        have = len(begin)
        self.hold(have)
        body[:have] = begin
        while have < length:
            piece = body[have : have + UNPACKED_BYTES]
            self.hold(len(piece))
            try:
                await read_into(piece)
            except ConnectionResetError:
                raise ClientDisconnect from None
            have += len(piece)
        return body

    async def _unpack(self, body: Body, coding: str) -> Body:
        """``body`` without its coding. What is short when unpacked is unpacked here."""
        if len(body) <= INLINE_BYTES:
            before = self._held
            with contextlib.suppress(TooLargeError):
                return decompress(body, coding, min(INLINE_BYTES, self._reader.limit), self)
            self.release(self._held - before)
        unpacked: Body = await self._reader.offload(decompress, body, coding, self._reader.limit, self)
        return unpacked

    async def _discard(self, declared: int) -> None:
        limit = self._reader.limit
        read = 0
        waits_for_permission = b"expect" in self._call.headers
        more = not waits_for_permission and declared <= DISCARD_FACTOR * limit
        while more and read <= DISCARD_FACTOR * limit:
            chunk, more = await self._chunk()
            read += len(chunk)
        raise TooLargeError(f"the body is larger than {limit} bytes; send less, or raise EDGEMODEL_MAX_BODY")

    async def _chunk(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether there are more."""
        message = await self._call.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)

    def hold(self, size: int) -> None:
        """Charge ``size`` bytes until the body is done with.

        Raises:
            RequestError: there is no memory for them.
        """
        self._call.lease.hold(size)
        self._held += size

    def release(self, size: int) -> None:
        """Give ``size`` bytes of them back."""
        self._call.lease.release(size)
        self._held -= size
