"""What the clients' connections hold of the server while messages come and answers go.

gRPC's own threads read and write, and tell how much of a message has come only when all of it has. So what a slow
client holds is read off its socket; and where a client does not take its answers, its connection is ended there.
"""

import asyncio
import logging
import time
from itertools import takewhile
from typing import cast

from edgemodel_server.access.budget import Pool, client_of
from edgemodel_server.errors import BodyTimeoutError, ClientShareError, OverloadedError, RequestError, TooLargeError
from edgemodel_server.grpc.call import Call
from edgemodel_server.grpc.sockets import Sockets
from edgemodel_server.settings import Settings

logger = logging.getLogger(__name__)

CALL_SWEEP_SECONDS = 0.1
SWEEP_SHARE = 0.1
"""Of the event loop's time that looking after slow connections may take."""
SLOW_SECONDS = 0.1
"""A message that takes longer is charged to the budget while it comes."""
MAX_CALLS = 1024
"""Open at a time, of all clients, or twice as many as may wait for a worker: each takes up to 25 KiB, whether it has a
message or not."""
ANSWER_SECONDS = 60.0
"""A client has so long to take its answer, and as long again as it takes at SLOWEST_RATE."""
SLOWEST_RATE = 64 * 1024
"""Bytes per second."""
MAX_METADATA = 16 * 1024
"""Bytes of one call's metadata."""
COPIES = 2
"""Of an answer that waits: Python's and gRPC's."""


class Connections:
    """The calls of all connections of one server. For the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        """A server without connections."""
        self._settings = settings
        self._calls = Pool(max(MAX_CALLS, 2 * settings.queue_limit), least=1)
        # Both begin with what has been there longest.
        self._receiving: dict[Call, None] = {}
        self._sending: dict[Call, None] = {}
        self._sockets = Sockets()
        self._bases: dict[str, int] = {}
        """By peer: bytes that had come when its messages were found to be slow, those of whole messages among them."""
        self._timer: asyncio.TimerHandle | None = None
        self._refusals: set[asyncio.Task[None]] = set()

    def start(self, port: int) -> None:
        """Look after what is slow from now on, on the connections of this port."""
        self._sockets = Sockets(port)
        self._sweep()

    def close(self) -> None:
        """Stop looking after slow connections."""
        if self._timer is not None:
            self._timer.cancel()

    def begin(self, call: Call) -> None:
        """Count a call that has begun, until its task, which is the current one, has ended.

        Raises:
            TooLargeError: it has too much metadata.
            OverloadedError: as many calls are open as may be.
            ClientShareError: the client has as many open as it may.
        """
        client, peer = client_of(call.handling.address), call.peer
        cause = self._calls.take(1, client, peer)

        def end(_task: object) -> None:
            if cause is None:
                self._calls.give(1, client, peer)
            self._receiving.pop(call, None)
            self._sending.pop(call, None)
            call.end()

        # Not by the context: what it keeps would hold the call, and the call it, until the garbage collector comes.
        cast(asyncio.Task[None], asyncio.current_task()).add_done_callback(end)
        if call.metadata_size > MAX_METADATA:
            # gRPC looks only at entries whose values are not compressed.
            raise TooLargeError(f"the call's metadata has {call.metadata_size} bytes; send at most {MAX_METADATA}")
        if cause == "client":
            raise ClientShareError("your other calls are as many as one client may have open; end some first")
        if cause is not None:
            raise OverloadedError("as many calls are open as may be; try again in a moment")

    def receiving(self, call: Call) -> None:
        """The message of ``call`` begins to come."""
        self._receiving[call] = None

    def received(self, call: Call, content: object) -> None:
        """The message of ``call`` is there, or never comes.

        Raises:
            RequestError: there is no memory for it.
        """
        self._receiving.pop(call, None)
        if call.charged:
            call.lease.release(call.charged)
            call.charged = 0
        if isinstance(content, bytes):
            if call.peer in self._bases:
                self._bases[call.peer] += len(content)
            call.lease.hold(len(content))

    def sending(self, call: Call, size: int) -> None:
        """Its answer, of ``size`` bytes, is about to be sent; the budget is charged until the client has taken it.

        Raises:
            RequestError: there is no memory for it.
        """
        more = COPIES * size - call.lease.held
        if more > 0:
            call.lease.hold(more)
        elif more < 0:
            call.lease.release(-more)
        call.size = size
        call.since = time.monotonic()
        self._sending[call] = None

    def _sweep(self) -> None:
        began = time.monotonic()
        try:
            self._look_after(began)
        finally:
            # Many connections take long to look after, and others wait meanwhile.
            seconds = max(CALL_SWEEP_SECONDS, (time.monotonic() - began) / SWEEP_SHARE)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _look_after(self, now: float) -> None:
        slow: dict[str, list[Call]] = {}
        for call in takewhile(lambda call: now - call.since > SLOW_SECONDS, self._receiving):
            slow.setdefault(call.peer, []).append(call)
        for peer in self._bases.keys() - slow:
            del self._bases[peer]
        for peer, received in self._sockets.received(slow).items():
            self._charge(peer, received, slow[peer])
        for call in [call for calls in slow.values() for call in calls]:
            if now - call.since > self._settings.body_timeout:
                seconds = self._settings.body_timeout
                self._refuse(call, BodyTimeoutError(f"the message did not arrive within {seconds:g} seconds"))
        waiting = takewhile(lambda call: now - call.since > ANSWER_SECONDS, self._sending)
        for peer in {call.peer for call in waiting if now - call.since > ANSWER_SECONDS + call.size / SLOWEST_RATE}:
            if self._sockets.shut(peer):
                logger.info("a client did not take its answers; its connection was ended", extra={"peer": peer})

    def _charge(self, peer: str, received: int, calls: list[Call]) -> None:
        """Charge what has come of messages that are not whole yet; who has no room for it is refused."""
        base = self._bases[peer] = min(self._bases.get(peer, received), received)
        more = received - base - sum(call.charged for call in calls)
        if more <= 0:
            return
        try:
            calls[0].lease.hold(more)
            calls[0].charged += more
        except RequestError as error:
            for call in calls:
                self._refuse(call, error)

    def _refuse(self, call: Call, error: RequestError) -> None:
        if call not in self._receiving:
            return
        del self._receiving[call]
        task = asyncio.get_running_loop().create_task(call.refuse_from_outside(error))
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)
