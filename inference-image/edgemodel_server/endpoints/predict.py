"""POST ``/predict``: images in, labels out."""

import asyncio
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from edgemodel_server.endpoints.waiting import result_of
from edgemodel_server.errors import BadRequestError, NotFoundError, shown
from edgemodel_server.images.classifier import Classifier, Prediction
from edgemodel_server.images.decode import ImageInput, decode_image, to_tensor
from edgemodel_server.images.forms import read_images
from edgemodel_server.observability.tracing import record_phases
from edgemodel_server.protocol.calls import Answer, Call, json_answer
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.service import Service

MOST_CLASSES = 1000


async def predict(service: Service, call: Call) -> Answer:
    """The most probable class of each image, and with ``?top_k=N`` the N most probable.

    Raises:
        RequestError: no answer, for the reason its class says.
    """
    model = service.model()
    card, classifier = model.engine.card, model.classifier
    if classifier is None:
        raise NotFoundError(
            f"model {card.name!r} does not sort images into classes; use POST /v2/models/{card.name}/infer"
        )
    top_k = _top_k(call.query)
    deadline = call.started + call.timeout(service.settings.request_timeout)
    service.scheduler.check(deadline)
    async with service.bodies.read(call) as body:
        tensors = await service.scheduler.offload_images(
            _image_tensors, call.header(b"content-type"), body, classifier.image, service.settings.max_pixels
        )
    outputs = await _outputs(service, call, classifier, tensors, deadline)
    record_phases(call.timings)
    predictions = [_prediction(classifier.predict(output, top_k or 1), top_k) for output in outputs]
    if len(predictions) == 1:
        return json_answer({**predictions[0], "model": card.name})
    return json_answer({"predictions": predictions, "model": card.name})


async def _outputs(
    service: Service, call: Call, classifier: Classifier, tensors: list[Array], deadline: float
) -> list[Array]:
    """The model's output for each image. Together where its rows are independent, or else one after the other."""
    names = (classifier.output,)
    same = len({tensor.shape for tensor in tensors}) == 1
    if len(tensors) > 1 and same and service.model().profile.independent:
        batch = {classifier.image.name: np.concatenate(tensors)}
        result = await result_of(service.submit(batch, names, deadline, call.headers), call)
        call.timings = [("queue", result.waited), ("compute", result.computed)]
        return list(np.split(result.arrays[0], len(tensors)))
    outputs: list[Array] = []
    waited = computed = 0.0
    for tensor in tensors:
        work = service.submit({classifier.image.name: tensor}, names, deadline, call.headers)
        result = await result_of(work, call)
        outputs += result.arrays
        waited, computed = waited + result.waited, computed + result.computed
        await asyncio.sleep(0)
    call.timings = [("queue", waited), ("compute", computed)]
    return outputs


def _image_tensors(
    content_type: str, body: bytes | bytearray | memoryview, target: ImageInput, max_pixels: int
) -> list[Array]:
    return [to_tensor(decode_image(upload, max_pixels), target) for upload in read_images(content_type, body)]


def _top_k(query: bytes) -> int | None:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top_k") if query else None
    if not values:
        return None
    value = values[-1]
    if not value.isdecimal() or not value.isascii() or not 1 <= int(value[:9]) <= MOST_CLASSES:
        raise BadRequestError(f"top_k is {shown(value)}; give a whole number from 1 to {MOST_CLASSES}")
    return int(value)


def _prediction(best: list[Prediction], top_k: int | None) -> dict[str, Any]:
    entries = [{"label": item.label, "probability": round(item.probability, 6)} for item in best]
    return {**entries[0], "top": entries} if top_k else entries[0]
