"""Waits for a result as long as the client does."""

import asyncio

from starlette.requests import ClientDisconnect

from edgemodel_server.protocol.calls import Call
from edgemodel_server.scheduling.jobs import Result


async def result_of(work: "asyncio.Future[Result]", call: Call) -> Result:
    """The result of ``work``; if the client of ``call`` closes its connection before, the work is cancelled.

    Raises:
        ClientDisconnect: the client has gone.
        RequestError: what the work raises.
    """
    if work.done() or call.when_gone is None:
        return await work
    gone = False

    def leave() -> None:
        nonlocal gone
        gone = True
        work.cancel()

    call.when_gone(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if gone:
            raise ClientDisconnect from None
        raise
    finally:
        call.when_gone(None)
