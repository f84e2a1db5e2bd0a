"""HTTP/1.1 as bytes: what is sent is up to the test, what comes back is read strictly (RFC 9112)."""

from __future__ import annotations

import json
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.abuse.sockets import connect

SECONDS = 20.0
"""An answer that takes longer does not come."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [\x20-\x7e]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


class NoAnswer(Exception):  # noqa: N818
    """The server closed the connection before it answered."""


class Silence(Exception):  # noqa: N818
    """The server neither answered nor closed the connection: it waits for more."""


@dataclass(frozen=True)
class Answer:
    """A final answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def id(self) -> str | None:
        """The id of the inference that was answered."""
        with suppress(ValueError):
            content = self.json()
            if isinstance(content, dict):
                return content.get("id")
        return None

    @property
    def error(self) -> str:
        """The sentence of an error in the server's form; empty where it has another form."""
        with suppress(ValueError):
            content = self.json()
            if isinstance(content, dict) and isinstance(content.get("error"), str):
                return str(content["error"])
        return ""


class Wire:
    """One connection."""

    def __init__(self, port: int, seconds: float = SECONDS, receive_buffer: int | None = None) -> None:
        """Connected to ``port`` of this machine."""
        self.socket = connect(port, seconds, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""
        self.interim: list[int] = []
        """Statuses of the 1xx that came before answers."""

    def send(self, content: bytes) -> None:
        """All of ``content``, or what the server takes of it before it closes the connection."""
        with suppress(ConnectionError):
            self.socket.sendall(content)

    def finish_sending(self) -> None:
        """Close the writing half."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, head: bool = False) -> Answer:
        """The next final answer. ``head``: it has no body, whatever its headers say.

        Raises:
            NoAnswer: the connection ended.
            Silence: nothing came.
            AssertionError: what came is not HTTP/1.1.
        """
        while True:
            lines = self._until(b"\r\n\r\n").split(b"\r\n")
            match = _STATUS_LINE.fullmatch(lines[0])
            assert match, f"not a status line: {lines[0][:100]!r}"
            status = int(match[1])
            headers: dict[str, str] = {}
            for line in lines[1:]:
                field = _FIELD.fullmatch(line)
                assert field, f"not a header: {line[:100]!r}"
                name = field[1].decode().lower()
                assert name not in headers or name not in ("content-length", "transfer-encoding"), f"{name} twice"
                headers[name] = field[2].decode("latin-1").strip()
            assert status != 101, "the server changed the protocol"
            if status >= 200:
                break
            self.interim.append(status)
        body = b"" if head or status in (204, 304) else self._body(headers)
        return Answer(status, headers, body)

    def interim_answer(self) -> int:
        """The status of a 1xx that comes next. Raises as ``answer``."""
        match = _STATUS_LINE.fullmatch(self._until(b"\r\n\r\n").partition(b"\r\n")[0])
        assert match, "not a status line"
        return int(match[1])

    def reset(self) -> None:
        """End it in the rudest way: the server reads an error."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def is_closed(self) -> bool:
        """Whether the server has closed or closes the connection, with nothing more to read."""
        try:
            return self._read == b"" and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        """End it."""
        self.socket.close()

    def __enter__(self) -> Self:
        """The connection."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it."""
        self.close()

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            assert "content-length" not in headers, "an answer with two lengths"
            return self._chunks()
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        content = b""
        with suppress(NoAnswer):
            while True:
                content += self._exactly(1)
        return content

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            content += self._exactly(size)
            assert self._exactly(2) == b"\r\n", "a chunk without its end"
        assert self._until(b"\r\n") == b"", "an answer with trailers"
        return content

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._read:
            self._receive()
        found, _, self._read = self._read.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._receive()
        found, self._read = self._read[:size], self._read[size:]
        return found

    def _receive(self) -> None:
        try:
            content = self.socket.recv(1 << 20)
        except TimeoutError as error:
            raise Silence(f"nothing more came after {self._read[:200]!r}") from error
        except ConnectionError as error:
            raise NoAnswer(f"the connection was reset after {self._read[:200]!r}") from error
        if not content:
            raise NoAnswer(f"the connection was closed after {self._read[:200]!r}")
        self._read += content


def infer_body(identifier: str) -> bytes:
    """An inference of the small model, recognized in the answer by its id."""
    row = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    return json.dumps({"id": identifier, "inputs": [row]}).encode()


INFER = "/v2/models/digits/infer"


def post(body: bytes, *headers: str, path: str = INFER) -> bytes:
    """A well-formed POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: server", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def infer(identifier: str, *headers: str) -> bytes:
    """A well-formed inference of the small model."""
    return post(infer_body(identifier), *headers)


def get(path: str, *headers: str) -> bytes:
    """A well-formed GET."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: server", *headers, "", ""]).encode()
