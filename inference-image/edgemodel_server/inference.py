"""POST ``/v2/models/{name}/infer``: the Open Inference Protocol's request in, its response out."""

import time

from edgemodel_server.bodies import INLINE_BYTES
from edgemodel_server.calls import BINARY, HEADER_LENGTH, JSON, Answer, Call
from edgemodel_server.coding import accepted, compress
from edgemodel_server.errors import UnsupportedContentError, shown
from edgemodel_server.protocol import MODEL_VERSION, InferResponse, decode_request, encode_response
from edgemodel_server.service import Service
from edgemodel_server.waiting import result_of

COMPRESSED_BYTES = 1024
"""Smaller answers do not get smaller."""


def infer_target(path: str) -> tuple[str, str] | None:
    """Model and version that a path asks for inference of; None for any other path."""
    match path.split("/"):
        case ["", "v2", "models", name, "infer"]:
            return name, MODEL_VERSION
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return name, version
    return None


async def infer(service: Service, call: Call) -> Answer:
    """Tensors in, tensors out, as JSON or raw bytes.

    Raises:
        RequestError: no answer, for the reason its class says.
    """
    name, version = infer_target(call.path) or ("", "")
    model = service.named_model(name, version)
    signature, scheduler = model.signature, service.scheduler
    header_length = call.length(HEADER_LENGTH)
    _check_content(call)
    deadline = call.started + call.timeout(service.settings.request_timeout)
    scheduler.check(deadline)
    async with service.bodies.read(call) as body:
        received = time.perf_counter()
        if len(body) <= INLINE_BYTES or (header_length or len(body)) <= INLINE_BYTES:
            request = decode_request(body, header_length, signature)
        else:
            request = await scheduler.offload_json(decode_request, body, header_length, signature)
        if request.timeout is not None:
            deadline = min(deadline, call.started + request.timeout)
        decoded = time.perf_counter()
        result = await result_of(service.submit(request.inputs, request.outputs, deadline, call.headers), call.receive)
    call.timings = [("decode", decoded - received), ("queue", result.waited), ("compute", result.computed)]
    arrays = result.arrays
    if not request.binary and sum(array.nbytes for array in arrays) > INLINE_BYTES:
        response = await scheduler.offload_json(
            encode_response, signature, request.id, request.outputs, arrays, request.binary
        )
    else:
        response = encode_response(signature, request.id, request.outputs, arrays, request.binary)
    return await _answer(service, call, response)


async def _answer(service: Service, call: Call, response: InferResponse) -> Answer:
    headers = [(b"content-type", JSON)]
    if response.header_length is not None:
        headers = [(b"content-type", BINARY), (HEADER_LENGTH, b"%d" % response.header_length)]
    parts = response.parts
    wanted = call.headers.get(b"accept-encoding")
    size = sum(map(len, parts)) if wanted else 0
    coding = accepted(call.header(b"accept-encoding")) if size >= COMPRESSED_BYTES else None
    if coding is not None:
        headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
        if size <= INLINE_BYTES:
            parts = [compress(parts, coding)]
        else:
            parts = [await service.scheduler.offload_json(compress, parts, coding)]
    return Answer(200, parts, headers)


def _check_content(call: Call) -> None:
    value = call.headers.get(b"content-type")
    if value is None:
        return
    kind = value.partition(b";")[0].strip().lower()
    # Clients that know of binary tensors call JSON by the second name, too.
    if kind not in (JSON, BINARY) and not kind.endswith(b"+json"):
        raise UnsupportedContentError(
            f"Content-Type is {shown(call.header(b'content-type'))}; send application/json, or with binary tensors "
            "application/octet-stream"
        )
