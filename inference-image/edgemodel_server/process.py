"""The life of the server process: listen, load, serve, drain."""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator

import uvicorn

from edgemodel_server.app import create_app
from edgemodel_server.cpus import available_cpus, divide
from edgemodel_server.service import Service, load_model
from edgemodel_server.settings import Settings

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time after which common clients and proxies close, so that it is they who close first."""
LINGER_SECONDS = 2.0
"""After the listener is closed, idle connections stay open this long: a request may be on its way in them."""
POLL_SECONDS = 0.02


class Server(uvicorn.Server):
    """uvicorn, with signals left to ``serve``: uvicorn's own handlers would end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def stop_listening(self, listener: socket.socket) -> None:
        """Refuse new connections; those open are served on.

        The kernel resets connections that it has completed and nobody has accepted yet when their listener closes:
        they are accepted first, in the same breath.
        """
        waiting: list[socket.socket] = []
        with contextlib.suppress(OSError):  # most often: there is none, and waiting is off
            while True:
                waiting.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state={}
        )
        return protocol

    async def connections_closed(self, seconds: float) -> None:
        """Wait until no connection is open, at most ``seconds``."""
        deadline = time.monotonic() + seconds
        # uvicorn tells nobody when a connection closes.
        while self.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)


def listen(address: tuple[str, int]) -> socket.socket:
    """A listening socket; without a host on all addresses, of IPv6 too where the machine has it.

    Raises:
        OSError: the address is taken or not of this machine.
    """
    host, port = address
    dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, dualstack_ipv6=dual, backlog=2048)
    listener.setblocking(False)
    return listener


async def serve(settings: Settings, listener: socket.socket, started: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. ``started`` is the process's start by ``perf_counter``.

    SIGTERM keeps serving for ``settings.drain`` seconds; SIGINT, from a person at a terminal, does not wait; a
    second signal ends at once.

    Raises:
        ModelError: the model cannot be served.
    """
    parallelism = divide(available_cpus(), settings.threads or None)
    service = Service(settings, parallelism)
    server = Server(
        uvicorn.Config(
            create_app(service),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.shutdown)),
        )
    )
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    delay = settings.drain

    def on_signal(number: signal.Signals) -> None:
        nonlocal delay
        if stop.is_set():
            server.force_exit = server.should_exit = True
            hurry.set()
        if number == signal.SIGINT:
            delay = 0.0
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = asyncio.create_task(asyncio.to_thread(load_model, settings, parallelism))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({loading, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            model = loading.result()
            service.serve(model)
            logger.info(
                "ready",
                extra={
                    "model": model.engine.card.name,
                    "digest": model.digest,
                    "predict": model.classifier is not None,
                    "threads": parallelism.threads,
                    "workers": parallelism.workers,
                    "spinning": parallelism.spinning,
                    "port": listener.getsockname()[1],
                    "seconds": round(time.perf_counter() - started, 3),
                },
            )
            await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            service.drain()
            await asyncio.wait({serving, asyncio.create_task(hurry.wait())}, timeout=delay)
            await server.stop_listening(listener)
            await server.connections_closed(0.0 if hurry.is_set() else LINGER_SECONDS)
    finally:
        server.should_exit = True
        stopping.cancel()
        await serving
        service.scheduler.close()
