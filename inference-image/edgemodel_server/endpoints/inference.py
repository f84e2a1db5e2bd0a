"""POST ``/v2/models/{name}/infer``: the Open Inference Protocol's request in, its response out."""

import time
from functools import lru_cache, partial

from edgemodel_server.endpoints.running import encoded, run
from edgemodel_server.endpoints.waiting import result_of
from edgemodel_server.errors import UnsupportedContentError, shown
from edgemodel_server.fanout.parts import check_part
from edgemodel_server.protocol.bodies import INLINE_BYTES, Body
from edgemodel_server.protocol.calls import BINARY, HEADER_LENGTH, JSON, Answer, Call
from edgemodel_server.protocol.coding import accepted, compress
from edgemodel_server.protocol.open_inference import MODEL_VERSION, InferResponse, decode_request, encode_response
from edgemodel_server.service import Model, Service

FORM = b"application/x-www-form-urlencoded"
COMPRESSED_BYTES = 1024
"""Smaller answers do not get smaller."""


@lru_cache(64)
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
    signature, scheduler = _model(service, call).signature, service.scheduler
    header_length = call.length(HEADER_LENGTH)
    _check_content(call.headers.get(b"content-type"))
    deadline = call.started + call.timeout(service.settings.request_timeout)
    scheduler.check(deadline)
    async with service.bodies.read(call) as body:
        is_quick = header_length is not None and header_length <= INLINE_BYTES and not signature.takes_strings
        inferred = await run(
            service,
            partial(decode_request, body, header_length, signature, call.lease),
            size=len(body),
            inline=is_quick or len(body) <= INLINE_BYTES,
            started=call.started,
            deadline=deadline,
            headers=call.headers,
            lease=call.lease,
            wait=partial(result_of, call=call),
        )
    call.timings = inferred.timings
    request = inferred.request
    arrays = inferred.result.arrays
    encode = partial(encode_response, signature, request.id, request.outputs, arrays, request.form, call.lease)
    answer, coding = _answer(call, await encoded(service, inferred, encode))
    if coding is not None:
        work = partial(compress, answer.parts, coding, call.lease)
        is_small = sum(map(len, answer.parts)) <= INLINE_BYTES
        answer.parts = work() if is_small else await scheduler.offload_json(work)
    return answer


def infer_inline(service: Service, call: Call, body: Body) -> Answer:
    """As ``infer``, for a ``body`` that is there, without a content coding, and that the service calls quick.

    Raises:
        RequestError: no answer, for the reason its class says.
    """
    model = _model(service, call)
    signature = model.signature
    header_length = call.length(HEADER_LENGTH)
    _check_content(call.headers.get(b"content-type"))
    call.timeout(service.settings.request_timeout)
    request = decode_request(body, header_length, signature)
    decoded = time.perf_counter()
    check_part(call.headers, model.digest)
    result = service.scheduler.compute(request.inputs, request.outputs)
    call.timings = [("decode", decoded - call.started), ("queue", 0.0), ("compute", result.computed)]
    answer, coding = _answer(call, encode_response(signature, request.id, request.outputs, result.arrays, request.form))
    if coding is not None:
        answer.parts = compress(answer.parts, coding)
    return answer


def _model(service: Service, call: Call) -> Model:
    name, version = infer_target(call.path) or ("", "")
    return service.named_model(name, version)


def _answer(call: Call, response: InferResponse) -> tuple[Answer, str | None]:
    """The answer, and the coding under which its parts have yet to be brought."""
    headers = [(b"content-type", JSON)]
    if response.header_length is not None:
        headers = [(b"content-type", BINARY), (HEADER_LENGTH, b"%d" % response.header_length)]
    coding = None
    if b"accept-encoding" in call.headers and sum(map(len, response.parts)) >= COMPRESSED_BYTES:
        coding = accepted(call.header(b"accept-encoding"))
    if coding is not None:
        headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
    return Answer(200, response.parts, headers, is_charged=True), coding


@lru_cache(64)
def _check_content(value: bytes | None) -> None:
    """Raise UnsupportedContentError if the header Content-Type, None where it is missing, is none that is read."""
    if value is None:
        return
    kind = value.partition(b";")[0].strip().lower()
    # Clients that know of binary tensors call JSON by the second name, too, and ``curl -d`` by the third.
    if kind not in (JSON, BINARY, FORM) and not kind.endswith(b"+json"):
        raise UnsupportedContentError(
            f"Content-Type is {shown(value.decode('latin-1'))}; send application/json, or with binary tensors "
            "application/octet-stream"
        )
