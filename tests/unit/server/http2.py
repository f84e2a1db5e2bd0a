"""HTTP/2 frame by frame, as a client that may break the rules."""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hpack
import numpy as np

from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.methods import SERVICE
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.service import Service

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED = 1, 4, 8, 32
FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": f"/{SERVICE}/ModelInfer",
    ":authority": "server",
    "content-type": "application/grpc",
    "te": "trailers",
}

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 0, 3, 4, 8, 12

ROW = pb.ModelInferRequest(
    model_name="digits",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])],
    raw_input_contents=[np.array([1, 2, 3, 4], dtype=np.float32).tobytes()],
).SerializeToString()


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    content: bytes

    @property
    def number(self) -> int:
        """The last four bytes, where a frame has a code or a size."""
        return int.from_bytes(self.content[-4:], "big")


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def message(content: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(content)) + content


@dataclass
class Answer:
    headers: dict[str, str]
    content: bytes = b""
    reset: int | None = None

    @property
    def status(self) -> tuple[int, str]:
        return int(self.headers["grpc-status"]), self.headers.get("grpc-message", "")


class Raw:
    """A connection whose preface and settings are sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.headers: dict[int, dict[str, str]] = {}
        self.ended: dict[int, dict[str, str]] = {}
        """By stream that the server has ended: its headers."""
        self._window = self._first_window = 65_535
        self._windows: dict[int, int] = {}

    @classmethod
    async def open(cls, port: int, settings: Sequence[tuple[int, int]] = (), preface: bytes = PREFACE) -> "Raw":
        raw = cls(*await asyncio.open_connection("127.0.0.1", port))
        content = b"".join(struct.pack(">HI", *setting) for setting in settings)
        raw.send(preface, frame(SETTINGS, 0, 0, content) if preface == PREFACE else b"")
        return raw

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def block(self, **fields: str | None) -> bytes:
        """Of a call, but for what is given otherwise: with ``_`` for ``-``, and ``__`` for ``:`` in front."""
        named = {key.replace("__", ":").replace("_", "-"): value for key, value in fields.items()}
        wanted = {key: value for key, value in {**FIELDS, **named}.items() if value is not None}
        found: bytes = self.encoder.encode(sorted(wanted.items(), key=lambda item: item[0][0] != ":"))
        return found

    def call(self, stream: int, content: bytes, **fields: str | None) -> bytes:
        """The frames of a call, in the simplest form."""
        return frame(HEADERS, END_HEADERS, stream, self.block(**fields)) + frame(DATA, END_STREAM, stream, content)

    async def frame(self) -> Frame:
        async with asyncio.timeout(30):
            head = await self.reader.readexactly(9)
            content = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        found = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), content)
        self._note(found)
        return found

    async def until(self, kind: int, stream: int | None = None) -> Frame:
        """The next frame of that kind, what comes before it dropped."""
        while True:
            found = await self.frame()
            if found.kind == kind and stream in (None, found.stream):
                return found

    async def answer(self, stream: int) -> Answer:
        """All of a stream until it ends."""
        answer = Answer(self.headers.setdefault(stream, {}))
        while stream not in self.ended:
            found = await self.frame()
            if found.stream != stream:
                continue
            if found.kind == DATA:
                answer.content += found.content
            if found.kind == RST_STREAM:
                answer.reset = found.number
        return answer

    async def send_within_windows(self, stream: int, content: bytes, *, last: bool = True) -> bool:
        """``content`` of an open stream, as fast as the server makes room for it; whether all of it was taken before
        the server ended the stream. ``last``: it ends the client's side of it."""
        position = 0
        while position < len(content):
            if stream in self.ended:
                return False
            room = min(self._window, self._windows.setdefault(stream, self._first_window))
            size = min(16_384, room, len(content) - position)
            if size <= 0:
                await self.frame()
                continue
            flags = END_STREAM if last and position + size == len(content) else 0
            self.send(frame(DATA, flags, stream, content[position : position + size]))
            await self.writer.drain()
            position += size
            self._window -= size
            self._windows[stream] -= size
        return True

    def _note(self, found: Frame) -> None:
        """What a frame says of the windows, and of streams that are over."""
        if found.kind == WINDOW_UPDATE and not found.stream:
            self._window += found.number
        elif found.kind == WINDOW_UPDATE:
            self._windows[found.stream] = self._windows.get(found.stream, self._first_window) + found.number
        elif found.kind == SETTINGS and not found.flags:
            self.send(frame(SETTINGS, 1))
            for at in range(0, len(found.content), 6):
                name, value = struct.unpack_from(">HI", found.content, at)
                if name == 4:
                    change, self._first_window = value - self._first_window, value
                    self._windows = {stream: window + change for stream, window in self._windows.items()}
        elif found.kind == PING and not found.flags:
            self.send(frame(PING, 1, 0, found.content))
        elif found.kind == RST_STREAM:
            self.ended.setdefault(found.stream, {})
        elif found.kind == HEADERS:
            fields: Any = self.decoder.decode(found.content)
            self.headers.setdefault(found.stream, {}).update(dict(fields))
            if found.flags & END_STREAM:
                self.ended[found.stream] = self.headers[found.stream]

    async def close(self) -> None:
        self.writer.close()


class Serving:
    def __init__(self, service: Service, server: GrpcServer, port: int) -> None:
        self.service, self.server, self.port = service, server, port

    async def open(self, *setting: tuple[int, int], preface: bytes = PREFACE) -> Raw:
        return await Raw.open(self.port, setting, preface)


def logits(content: bytes) -> list[float]:
    assert content[0] == 0
    assert len(content) == 5 + int.from_bytes(content[1:5], "big")
    response = pb.ModelInferResponse.FromString(content[5:])
    return list(np.frombuffer(response.raw_output_contents[0], dtype=np.float32))


async def expected(raw: Raw, stream: int) -> list[float]:
    raw.send(raw.call(stream, message(ROW)))
    answer = await raw.answer(stream)
    assert answer.status == (OK, "")
    return logits(answer.content)
