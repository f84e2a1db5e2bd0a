"""Waits for a result as long as the client does."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from edgemodel_server.jobs import Result


async def result_of(work: "asyncio.Future[Result]", receive: Receive) -> Result:
    """The result of ``work``; if the client closes its connection before, the work is cancelled.

    ``receive`` is the request's, its body having been read.

    Raises:
        ClientDisconnect: the client has gone.
        RequestError: what the work raises.
    """
    if work.done():
        return work.result()
    gone = asyncio.ensure_future(_cancel_when_gone(work, receive))
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise ClientDisconnect from None
        raise
    finally:
        gone.cancel()


async def _cancel_when_gone(work: "asyncio.Future[Result]", receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()
