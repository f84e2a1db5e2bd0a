"""The life of the server process: listen, load, serve, drain."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from edgemodel_server.access.tls import Certificates
from edgemodel_server.access.watching import INTERVAL
from edgemodel_server.admin.process import AdminProcess
from edgemodel_server.allocator import trimming
from edgemodel_server.http.app import App
from edgemodel_server.http.server import Server
from edgemodel_server.model.cpus import available_cpus, divide
from edgemodel_server.observability.tracing_setup import start_tracing
from edgemodel_server.service import Model, Service, State, load_model
from edgemodel_server.settings import Settings

if TYPE_CHECKING:
    from edgemodel_server.grpc.server import GrpcServer

logger = logging.getLogger(__name__)

LINGER_SECONDS = 2.0
"""After the listener is closed, idle connections stay open this long: a request may be on its way in them."""
FLUSH_SECONDS = 3.0
"""The end of the process waits no longer for the collector of traces."""
SWITCH_SECONDS = 0.0005
"""A worker whose inference is done waits at most this long for Python's lock, not the usual 5 ms."""

GARBAGE_THRESHOLD = 20_000
"""Objects made and not freed, before the collector looks for cycles; requests leave hardly any."""


class Signals:
    """SIGTERM keeps serving for a time; SIGINT, from a person at a terminal, does not; a second one ends at once."""

    def __init__(self, drain: float) -> None:
        """Listen for them. ``drain``: seconds to keep serving after SIGTERM."""
        self.drain = drain
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            self.hurry.set()
        if number == signal.SIGINT:
            self.drain = 0.0
        self.stop.set()


async def serve(
    settings: Settings,
    listener: socket.socket,
    admin: socket.socket | None,
    started: float,
    on_ready: Callable[[Model, int, int | None], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. ``started`` is the process's start by ``perf_counter``.

    ``listener`` is for the REST API, ``admin`` for health and metrics. ``on_ready`` is called once with the model and
    the ports of HTTP and gRPC.

    Raises:
        ModelError: the model cannot be served.
        CertificateError: TLS is asked for and its certificate cannot be used.
        SettingsError: traces are asked for and what says how cannot be read.
        OSError: the folder of keys cannot be read, or gRPC's address cannot be used.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    certificates = Certificates(settings.tls_dir) if settings.tls_dir else None
    parallelism = divide(available_cpus(), settings.threads or None)
    tracing = start_tracing(os.environ)
    service = Service(settings, parallelism, tracing=tracing)
    signals = Signals(settings.drain)
    app = App(service)
    context = certificates.context if certificates else None
    # Where requests are traced none is answered inline: a span takes longer than what that saves.
    server = (
        Server(tracing.over_http(app, service), context, None, service.budget)
        if tracing
        else Server(app, context, app.try_inline, service.budget)
    )
    await server.start(listener)
    loading = asyncio.create_task(asyncio.to_thread(load_model, settings, parallelism))
    stopping = asyncio.create_task(signals.stop.wait())
    end = time.monotonic() + settings.shutdown
    try:
        async with (
            _admin(admin, service) as tell_admin,
            _refreshing(certificates),
            trimming(),
            _grpc(settings, service, certificates) as (grpc_server, grpc_port),
        ):
            await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                model = loading.result()
                service.serve(model)
                tell_admin()
                _settle()
                if grpc_server:
                    await grpc_server.set_ready(ready=True)
                logger.info(
                    "ready",
                    extra={
                        "model": model.engine.card.name,
                        "digest": model.digest,
                        "predict": model.classifier is not None,
                        "threads": parallelism.threads,
                        "workers": parallelism.workers,
                        "spinning": parallelism.spinning,
                        "batch": service.scheduler.sharing.batch_size,
                        "batching_off_because": service.scheduler.sharing.off_because,
                        "port": listener.getsockname()[1],
                        "grpc_port": grpc_port,
                        "admin_port": admin.getsockname()[1] if admin else None,
                        "seconds": round(time.perf_counter() - started, 3),
                    },
                )
                if on_ready:
                    on_ready(model, listener.getsockname()[1], grpc_port)
                await stopping
                service.drain()
                tell_admin()
                if grpc_server:
                    await grpc_server.set_ready(ready=False)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(signals.hurry.wait(), signals.drain)
                # From here on both protocols have the same time, not one after the other.
                end = time.monotonic() + settings.shutdown
                ends = [server.stop_listening(listener)]
                if grpc_server:
                    ends.append(grpc_server.stop(0.0 if signals.hurry.is_set() else settings.shutdown))
                await asyncio.gather(*ends)
                await server.connections_closed(0.0 if signals.hurry.is_set() else LINGER_SECONDS)
    finally:
        stopping.cancel()
        await _close(server, signals, max(0.0, end - time.monotonic()))
        service.close()
        if tracing:
            await asyncio.to_thread(tracing.close, 0.0 if signals.hurry.is_set() else FLUSH_SECONDS)


def _settle() -> None:
    """What lives now lives to the end: the garbage collector need not look at it again, nor as often as it does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _close(server: Server, signals: Signals, seconds: float) -> None:
    """Let requests finish, for so many seconds or until somebody is in a hurry."""
    closing = asyncio.create_task(server.close(seconds))
    hurry = asyncio.create_task(signals.hurry.wait())
    await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not closing.done():
        await server.close(0.0)
    hurry.cancel()
    await closing


@contextlib.asynccontextmanager
async def _admin(listener: socket.socket | None, service: Service) -> AsyncIterator[Callable[[], None]]:
    """Answer on the admin port; gives what to call when the service's state has changed."""
    if listener is None:
        yield lambda: None
        return
    process = AdminProcess(
        listener, lambda: (service.state is State.READY, service.state.value), service.metrics.render
    )
    await process.start()
    try:
        yield process.tell
    finally:
        await process.close()


@contextlib.asynccontextmanager
async def _grpc(
    settings: Settings, service: Service, certificates: Certificates | None
) -> AsyncIterator[tuple["GrpcServer | None", int | None]]:
    """The gRPC server, and its port. It is imported while the model is loaded: it takes long."""
    if settings.grpc_listen is None:
        yield None, None
        return
    from edgemodel_server.grpc.server import GrpcServer

    server = GrpcServer(service, certificates)
    try:
        yield server, await server.start(settings.grpc_listen)
    finally:
        await server.stop(0.0)


@contextlib.asynccontextmanager
async def _refreshing(certificates: Certificates | None) -> AsyncIterator[None]:
    """Look for new certificates until the block ends."""

    async def look() -> None:
        while certificates:
            await asyncio.sleep(INTERVAL)
            if await asyncio.to_thread(certificates.refresh, time.monotonic()):
                logger.info("the certificate was read again")

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
