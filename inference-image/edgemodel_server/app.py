"""HTTP routes: Open Inference Protocol v2 (REST, JSON), ``/predict`` for images, health and metrics."""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgemodel_contract.serving import LIVE_PATH, METRICS_PATH, READY_PATH
from edgemodel_server.classifier import Prediction
from edgemodel_server.datatypes import Array
from edgemodel_server.errors import (
    NotFoundError,
    RequestError,
    TooLargeError,
    UnavailableError,
    UnsupportedContentError,
    shown,
)
from edgemodel_server.forms import read_images
from edgemodel_server.images import ImageInput, decode_image, to_tensor
from edgemodel_server.metrics import CONTENT_TYPE
from edgemodel_server.page.routes import page_routes
from edgemodel_server.protocol import MODEL_VERSION, decode_request, encode_response, model_metadata
from edgemodel_server.service import Service, State

logger = logging.getLogger(__name__)

INLINE_BYTES = 64 * 1024
"""Bodies and answers up to this size are decoded and encoded on the event loop: handing them over costs more."""
CLIENT_GONE = 499
"""Status counted, never sent, for a client that left before its body was complete."""

Handler = Callable[[Request], Awaitable[Response]]


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of ``service``."""
    routes = Routes(service)
    model, versioned = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    paths: list[tuple[str, Handler]] = [
        (LIVE_PATH, routes.live),
        (READY_PATH, routes.ready),
        (METRICS_PATH, routes.metrics),
        ("/v2", routes.server),
    ]
    for prefix in (model, versioned):
        paths += [(prefix, routes.model), (f"{prefix}/ready", routes.model_ready)]
    infer = Inference(service, "infer", routes.infer)
    predict = Inference(service, "predict", routes.predict)
    app = Starlette(
        routes=[
            *(Route(f"{prefix}/infer", infer, methods=["POST"]) for prefix in (model, versioned)),
            Route("/predict", predict, methods=["POST"]),
            *(Route(path, handler, methods=["GET"]) for path, handler in paths),
            *page_routes(service),
        ],
        exception_handlers={RequestError: _on_request_error, HTTPException: _on_http_exception},
    )
    app.router.redirect_slashes = False
    return Closing(service, app)


class Routes:
    """One method per route."""

    def __init__(self, service: Service) -> None:
        """Bind the routes to ``service``."""
        self._service = service

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        """Whether traffic should come here: 503 before the model is warm and while draining."""
        state = self._service.state
        if state is State.READY:
            return _json({"ready": True})
        return _json({"ready": False, "error": state.value}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, _: Request) -> Response:
        """Prometheus text exposition."""
        return Response(self._service.metrics.render(), headers={"content-type": CONTENT_TYPE})

    async def server(self, _: Request) -> Response:
        """Server metadata."""
        return _json({"name": "edgemodel", "version": version("edgemodel"), "extensions": []})

    async def model(self, request: Request) -> Response:
        """Model metadata."""
        parameters = request.path_params
        found = self._service.named_model(parameters["name"], parameters.get("version", MODEL_VERSION))
        return _json(model_metadata(found.engine.card))

    async def model_ready(self, request: Request) -> Response:
        """As ``ready``, for one model."""
        name, number = request.path_params["name"], request.path_params.get("version", MODEL_VERSION)
        self._service.named_model(name, number)
        is_ready = self._service.state is State.READY
        return _json({"name": name, "ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def infer(self, request: Request) -> Response:
        """Tensors in, tensors out, as JSON."""
        service = self._service
        parameters = request.path_params
        engine = service.named_model(parameters["name"], parameters.get("version", MODEL_VERSION)).engine
        _require_json(request)
        service.scheduler.check()
        async with service.bodies.read(request) as body:
            if len(body) <= INLINE_BYTES:
                decoded = decode_request(body, engine.card)
            else:
                decoded = await service.scheduler.offload_json(decode_request, body, engine.card)
        arrays = await service.scheduler.infer(engine, decoded.inputs, decoded.outputs)
        if sum(array.nbytes for array in arrays) <= INLINE_BYTES:
            content = encode_response(engine.card, decoded.id, decoded.outputs, arrays)
        else:
            content = await service.scheduler.offload_json(
                encode_response, engine.card, decoded.id, decoded.outputs, arrays
            )
        return Response(content, media_type="application/json")

    async def predict(self, request: Request) -> Response:
        """Images in, labels out."""
        service = self._service
        model = service.model()
        card, classifier = model.engine.card, model.classifier
        if classifier is None:
            raise NotFoundError(
                f"model {card.name!r} does not sort images into classes; use POST /v2/models/{card.name}/infer"
            )
        service.scheduler.check()
        async with service.bodies.read(request) as body:
            tensors = await service.scheduler.offload_images(
                _image_tensors,
                request.headers.get("content-type", ""),
                body,
                classifier.image,
                service.settings.max_pixels,
            )
        predictions: list[Prediction] = []
        for tensor in tensors:
            (output,) = await service.scheduler.infer(
                model.engine, {classifier.image.name: tensor}, [classifier.output]
            )
            predictions.append(classifier.predict(output))
        if len(predictions) == 1:
            return _json({**_prediction(predictions[0]), "model": card.name})
        return _json({"predictions": [_prediction(item) for item in predictions], "model": card.name})


class Inference:
    """ASGI endpoint that answers errors as JSON and measures every request to the last byte written."""

    def __init__(self, service: Service, endpoint: str, handler: Handler) -> None:
        """``endpoint`` is the label in the metrics."""
        self._metrics = service.metrics
        self._endpoint = endpoint
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        code = CLIENT_GONE
        self._metrics.in_flight.inc()
        try:
            response = await self._respond(Request(scope, receive))
            code = response.status_code
            await response(scope, receive, send)
        except ClientDisconnect:
            logger.debug("a client left before its request was complete")
        finally:
            self._metrics.in_flight.dec()
            self._metrics.requests.labels(self._endpoint, str(code)).observe(time.perf_counter() - started)

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except ClientDisconnect:
            raise
        except RequestError as error:
            if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.error("%s", error)
            return _error(error)
        except Exception:
            logger.exception("a request failed")
            return _json({"error": "the server failed on this request; its log says why"}, 500)


class Closing:
    """While draining, ask clients to close their connections, so that their next request goes to another server."""

    def __init__(self, service: Service, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._service = service
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._service.state is State.DRAINING:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_closing)


def _image_tensors(content_type: str, body: bytes, target: ImageInput, max_pixels: int) -> list[Array]:
    return [to_tensor(decode_image(upload, max_pixels), target) for upload in read_images(content_type, body)]


def _prediction(prediction: Prediction) -> dict[str, Any]:
    return {"label": prediction.label, "probability": round(prediction.probability, 6)}


def _require_json(request: Request) -> None:
    if "inference-header-content-length" in request.headers:
        raise UnsupportedContentError("Inference-Header-Content-Length: binary tensors are not supported; send JSON")
    content_type = request.headers.get("content-type", "application/json")
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedContentError(f"Content-Type is {shown(content_type)}; send application/json")


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def _error(error: RequestError) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, UnavailableError):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, TooLargeError):
        # What is left of the body must not be taken for the next request.
        headers["connection"] = "close"
    return _json({"error": str(error)}, error.status, headers)


async def _on_request_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return _error(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    return _json({"error": f"{request.method} {shown(request.url.path)}: {error.detail}"}, error.status_code, headers)
