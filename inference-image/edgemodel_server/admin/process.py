"""Starts the process that answers on the admin port, tells it the server's state, and starts it again if it ends."""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgemodel_contract.serving import LIVE_PATH, METRICS_PATH, READY_PATH
from edgemodel_server.admin import channel

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
"""The responder hears so often that the event loop runs."""
HANGS_AFTER_SECONDS = 30.0
"""So long after the last time the server is not live. No request may hold the event loop for a fraction of it."""
RESTART_SECONDS = 1.0
"""After the responder ended, until the next one is started."""
END_SECONDS = 2.0
"""The responder is killed if it has not ended so long after the server closed its channel."""
UNREAD_BYTES = 1024 * 1024
"""With so much that the responder has not read, it is told nothing more."""

_PACKAGES = Path(__file__).parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from edgemodel_server.admin.responder import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
)


class AdminProcess:
    """Answers on ``listener`` for this process. For the event loop's thread.

    ``state`` gives whether the server is ready, and if not, why; ``metrics`` the text for Prometheus.
    """

    def __init__(
        self, listener: socket.socket, state: Callable[[], tuple[bool, str]], metrics: Callable[[], bytes]
    ) -> None:
        """Not started. ``listener`` listens, and stays open as long as this is used."""
        self._listener = listener
        self._state = state
        self._metrics = metrics
        self._writer: asyncio.StreamWriter | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the process. It answers a moment later."""
        reader = await self._spawn()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._attend(reader)), loop.create_task(self._beat())]

    def tell(self) -> None:
        """Send the state, which has just changed."""
        ready, why = self._state()
        content = {"ready": True} if ready else {"ready": False, "error": why}
        self._send(channel.STATE, json.dumps(content, separators=(",", ":")).encode())

    async def close(self) -> None:
        """End the process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()

    async def _spawn(self) -> asyncio.StreamReader:
        here, there = socket.socketpair()
        options = {
            "hangs_after": HANGS_AFTER_SECONDS,
            "paths": {"live": LIVE_PATH, "ready": READY_PATH, "metrics": METRICS_PATH},
        }
        descriptors = [self._listener.fileno(), there.fileno()]
        with there:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without site-packages, which it does not need and which take time to find.
                *("-I", "-S", "-c", _PROGRAM, str(_PACKAGES), *map(str, descriptors), json.dumps(options)),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                # A person's Ctrl-C is for the server, and what it then still has to say of itself must be heard.
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=here)
        self.tell()
        return reader

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self.tell()

    async def _attend(self, reader: asyncio.StreamReader) -> None:
        """Give metrics when they are asked for; when the responder ends, start another."""
        while True:
            with contextlib.suppress(OSError):
                while await reader.read(1):
                    self._send(channel.METRICS, self._metrics())
            logger.error("the process that answers on the admin port has ended: %s", await self._end())
            while True:
                await asyncio.sleep(RESTART_SECONDS)
                try:
                    reader = await self._spawn()
                    break
                except OSError as error:
                    logger.error("the process that answers on the admin port cannot be started: %s", error)

    def _send(self, kind: int, content: bytes) -> None:
        writer: Any = self._writer
        if writer is not None and not writer.is_closing() and writer.transport.get_write_buffer_size() < UNREAD_BYTES:
            writer.write(channel.encode(kind, content))

    async def _end(self) -> str:
        """Close the channel, and with it the responder. How it ended."""
        writer, process = self._writer, self._process
        if writer is not None:
            writer.close()
        if process is None:
            return "it never ran"
        try:
            code = await asyncio.wait_for(process.wait(), END_SECONDS)
        except TimeoutError:
            process.kill()
            code = await process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"
