"""An inference request, from its bytes to the model's arrays: the same for every protocol."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgemodel_server.observability.tracing import record_phases
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.protocol.calls import Lease
from edgemodel_server.protocol.open_inference import InferRequest
from edgemodel_server.scheduling.jobs import Result
from edgemodel_server.service import Service

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Inferred:
    """A request as it was read, what the model made of it, and the phases it went through, with their seconds."""

    request: InferRequest
    result: Result
    timings: list[tuple[str, float]]


async def run(
    service: Service,
    decode: Callable[[], InferRequest],
    *,
    inline: bool,
    started: float,
    deadline: float,
    headers: Mapping[bytes, bytes],
    lease: Lease,
    wait: "Callable[[asyncio.Future[Result]], Awaitable[Result]] | None" = None,
) -> Inferred:
    """Decode, here if ``inline`` or else on the thread for that, and infer.

    ``started`` and ``deadline`` are times of ``time.perf_counter``; a timeout in the request moves the deadline
    forward. ``headers`` have names in lower case. ``lease`` is charged while the request waits and is computed.
    ``wait`` waits for the result; None: nothing but the result ends it.

    Raises:
        RequestError: no result, for the reason its class says.
    """
    received = time.perf_counter()
    request = decode() if inline else await service.scheduler.offload_json(decode)
    if request.timeout is not None:
        deadline = min(deadline, started + request.timeout)
    decoded = time.perf_counter()
    with lease.waiting():
        work = service.submit(request.inputs, request.outputs, deadline, headers)
        result = await (work if wait is None else wait(work))
    timings = [("decode", decoded - received), ("queue", result.waited), ("compute", result.computed)]
    record_phases(timings)
    return Inferred(request, result, timings)


async def encoded(service: Service, inferred: Inferred, encode: Callable[[], T]) -> T:
    """What ``encode`` makes of the result; away from the event loop where it takes long."""
    form = inferred.request.form
    # Raw bytes are not even copied.
    takes_time = form.classes or not form.raw
    if takes_time and sum(array.nbytes for array in inferred.result.arrays) > INLINE_BYTES:
        return await service.scheduler.offload_json(encode)
    return encode()
