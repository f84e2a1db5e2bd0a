"""An inference request, from its bytes to the model's arrays: the same for every protocol."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from edgemodel_server.observability.tracing import record_phases
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.protocol.calls import Lease
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.open_inference import InferRequest
from edgemodel_server.protocol.shapes import elements
from edgemodel_server.scheduling.jobs import Result
from edgemodel_server.service import Service

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

DECODED_PER_SECOND = 16 * 1024 * 1024
"""Bytes of a body, at least, unless others keep the CPU busy."""
STRING_BYTES = 64
"""What an element of BYTES takes beside its characters."""


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
    size: int,
    inline: bool,
    started: float,
    deadline: float,
    headers: Mapping[bytes, bytes],
    lease: Lease,
    wait: "Callable[[asyncio.Future[Result]], Awaitable[Result]] | None" = None,
) -> Inferred:
    """Decode the ``size`` bytes of a request, here if ``inline`` or else on the thread for that, and infer.

    ``started`` and ``deadline`` are times of ``time.perf_counter``; a timeout in the request moves the deadline
    forward. ``headers`` have names in lower case. ``lease`` is charged while the request is decoded, waits and is
    computed, and with what its outputs take: before they are computed, where that is known then. ``wait`` waits for the
    result; None: nothing but the result ends it.

    Raises:
        RequestError: no result, for the reason its class says.
    """
    received = time.perf_counter()
    if inline:
        request = decode()
    else:
        with lease.decoding(size / DECODED_PER_SECOND):
            request = await service.scheduler.offload_json(decode)
    if request.timeout is not None:
        deadline = min(deadline, started + request.timeout)
    decoded = time.perf_counter()
    expected = _expected_bytes(service, request)
    with lease.waiting():
        # Many answers may be computed before the first of them is sent.
        lease.hold(expected)
        work = service.submit(request.inputs, request.outputs, deadline, headers)
        result = await (work if wait is None else wait(work))
    computed = array_bytes(result.arrays)
    if computed > expected:
        lease.hold(computed - expected)
    else:
        lease.release(expected - computed)
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


def _expected_bytes(service: Service, request: InferRequest) -> int:
    """What the outputs will take where their shapes are known before: those of the model, with as many rows as the
    inputs where rows are independent. 0 where one is not."""
    outputs = service.model().signature.outputs
    rows = service.scheduler.sharing.rows(request.inputs)
    size = 0
    for spec in (outputs[name] for name in request.outputs):
        shape = spec.shape if rows is None else (rows, *spec.shape[1:])
        if -1 in shape or spec.datatype == "BYTES":
            return 0
        size += elements(shape) * NUMPY[spec.datatype].itemsize
    return size


def array_bytes(arrays: Sequence[Array]) -> int:
    """What outputs of the model take of memory."""
    return sum(array.nbytes if array.dtype != object else _strings_bytes(array) for array in arrays)


def _strings_bytes(array: Array) -> int:
    return sum(STRING_BYTES + len(item) for item in array.ravel().tolist())
