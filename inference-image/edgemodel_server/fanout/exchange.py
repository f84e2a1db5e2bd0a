"""HTTP/1.1 as a client: one request and its answer at a time over a connection that is kept."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools

PEER_READ_BYTES = 256 * 1024
MAX_HEADER_BYTES = 64 * 1024


class ExchangeError(Exception):
    """No answer: the connection failed, or what came is not HTTP or too large."""


@dataclass(slots=True)
class Response:
    """An answer, while it comes and when it is complete. Names of headers are in lower case."""

    limit: int
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of those that come more than once, the last counts."""
        self.headers[name.lower()] = value
        if sum(map(len, self.headers)) + sum(map(len, self.headers.values())) > MAX_HEADER_BYTES:
            raise ExchangeError(f"the headers of the answer are larger than {MAX_HEADER_BYTES} bytes")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        if len(self.body) + len(data) > self.limit:
            raise ExchangeError(f"the answer is larger than {self.limit} bytes")
        self.body += data

    def on_message_complete(self) -> None:
        """The answer is complete."""
        self.complete = True


class Connection:
    """One connection, for one exchange at a time. After an error, or cancelled, it is closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The connection whose streams are open."""
        self._reader = reader
        self._writer = writer
        self._kept = True

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext | None) -> "Connection":
        """Connect; over TLS where there is a ``context``.

        Raises:
            ExchangeError: nobody answers there, or shows a certificate that ``context`` refuses.
        """
        try:
            return cls(*await asyncio.open_connection(host, port, ssl=context, limit=PEER_READ_BYTES))
        except OSError as error:
            raise ExchangeError(f"cannot connect: {error}") from error

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._kept and not self._reader.at_eof() and not self._writer.is_closing()

    async def post(
        self,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        parts: Sequence[bytes | memoryview],
        limit: int,
    ) -> Response:
        """Send a body in ``parts`` and read the answer, whose body has at most ``limit`` bytes.

        Raises:
            ExchangeError: there is none.
        """
        size = sum(map(len, parts))
        lines = [b"POST %s HTTP/1.1" % path.encode(), b"content-length: %d" % size]
        head = b"\r\n".join([*lines, *(b"%s: %s" % header for header in headers), b"", b""])
        response = Response(limit)
        parser = httptools.HttpResponseParser(response)
        try:
            self._writer.writelines([head, *parts])
            await self._writer.drain()
            while not response.complete:
                data = await self._reader.read(PEER_READ_BYTES)
                if not data:
                    raise ExchangeError("the connection was closed before the answer was complete")
                parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What a callback raises comes as the context of the parser's own error.
            cause = error.__context__
            raise cause if isinstance(cause, ExchangeError) else ExchangeError(f"not HTTP: {error}") from error
        except OSError as error:
            raise ExchangeError(f"the connection failed: {error}") from error
        finally:
            self._kept = response.complete and parser.should_keep_alive()
            if not self._kept:
                self.close()
        response.status = parser.get_status_code()
        return response

    def close(self) -> None:
        """At once: nothing that is under way is waited for."""
        self._writer.transport.abort()
