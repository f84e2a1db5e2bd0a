"""POST ``/predict``: images in, labels out."""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from edgemodel_contract.serving import infer_path
from edgemodel_server.endpoints.waiting import result_of
from edgemodel_server.errors import BadRequestError, NotFoundError, shown
from edgemodel_server.images.classifier import Classifier, Prediction
from edgemodel_server.images.decode import ImageInput, decoding_seconds, image_tensors, read_headers
from edgemodel_server.images.forms import Upload, read_images
from edgemodel_server.images.headers import Header
from edgemodel_server.observability.tracing import record_phases
from edgemodel_server.protocol.bodies import Body
from edgemodel_server.protocol.calls import Answer, Call, json_answer
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.scheduling.sharing import fault_of
from edgemodel_server.service import Service

MAX_TOP_K = 1000
PREDICTION_BYTES = 1024
"""What a label with its probability takes, as objects and as JSON."""
INLINE_PREDICTIONS = 1000
"""So many are written in the event loop: it takes a millisecond or two."""


async def predict(service: Service, call: Call) -> Answer:
    """The most probable class of each image, and with ``?top_k=N`` the N most probable.

    Raises:
        RequestError: no answer, for the reason its class says.
    """
    model = service.model()
    card, classifier = model.engine.card, model.classifier
    if classifier is None:
        raise NotFoundError(f"model {card.name!r} does not sort images into classes; use POST {infer_path(card.name)}")
    top_k = _top_k(call.query)
    deadline = call.started + call.timeout(service.settings.request_timeout)
    service.scheduler.check(deadline)
    async with service.bodies.read(call) as body:
        tensors = await _tensors(service, call, body, classifier.image)
    outputs = await _outputs(service, call, classifier, tensors, deadline)
    record_phases(call.timings)
    count = len(outputs) * (top_k or 1)
    call.lease.hold(PREDICTION_BYTES * count)
    work = partial(_answer, card.name, classifier, outputs, top_k)
    return work() if count <= INLINE_PREDICTIONS else await service.scheduler.offload_json(work)


def _answer(model: str, classifier: Classifier, outputs: Sequence[Array], top_k: int | None) -> Answer:
    predictions = [_prediction(classifier.predict(output, top_k or 1), top_k) for output in outputs]
    if len(predictions) == 1:
        return json_answer({**predictions[0], "model": model})
    return json_answer({"predictions": predictions, "model": model})


async def _tensors(service: Service, call: Call, body: Body, target: ImageInput) -> list[Array]:
    """The input for each image, decoded one after the other."""
    offload, lease = service.scheduler.offload_images, call.lease
    # The form in one piece, and each image of it.
    copies = len(body) * (1 if isinstance(body, bytes) else 2)
    lease.hold(copies)
    try:
        uploads, headers = await offload(_images, call.header(b"content-type"), body, service.settings.max_pixels)
        with lease.decoding(decoding_seconds(headers)):
            return await offload(image_tensors, uploads, headers, target, lease)
    finally:
        lease.release(copies)


def _images(content_type: str, body: Body, max_pixels: int) -> tuple[list[Upload], list[Header]]:
    uploads = read_images(content_type, bytes(body))
    return uploads, read_headers(uploads, max_pixels)


async def _outputs(
    service: Service, call: Call, classifier: Classifier, arrays: list[Array], deadline: float
) -> list[Array]:
    """The model's output for each image. Together where its rows are independent, or else one after the other."""
    names = (classifier.output,)
    sharing = service.scheduler.sharing
    left = deque(arrays if sharing.proof.holds else _singly(arrays))
    outputs: list[Array] = []
    waited = computed = 0.0
    while left:
        array = left.popleft()
        with call.lease.waiting():
            work = service.submit({classifier.image.name: array}, names, deadline, call.headers)
            result = await result_of(work, call)
        waited, computed = waited + result.waited, computed + result.computed
        fault = fault_of(result.arrays, len(array))
        if fault is not None and len(array) > 1:
            sharing.refute(fault)
            left.extendleft(reversed(_singly([array])))
        else:
            outputs += np.split(result.arrays[0], len(array))
        await asyncio.sleep(0)
    call.timings = [("queue", waited), ("compute", computed)]
    return outputs


def _singly(arrays: Sequence[Array]) -> list[Array]:
    """Every row of ``arrays`` by itself."""
    return [array[index : index + 1] for array in arrays for index in range(len(array))]


def _top_k(query: bytes) -> int | None:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top_k") if query else None
    if not values:
        return None
    value = values[-1]
    if not value.isdecimal() or not value.isascii() or not 1 <= int(value[:9]) <= MAX_TOP_K:
        raise BadRequestError(f"top_k is {shown(value)}; give a whole number from 1 to {MAX_TOP_K}")
    return int(value)


def _prediction(best: list[Prediction], top_k: int | None) -> dict[str, Any]:
    entries = [{"label": item.label, "probability": round(item.probability, 6)} for item in best]
    return {**entries[0], "top": entries} if top_k else entries[0]
