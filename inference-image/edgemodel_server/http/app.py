"""The HTTP application: the inference endpoints, and around them metadata, health and metrics."""

import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgemodel_contract.serving import LIVE_PATH, METRICS_PATH, READY_PATH
from edgemodel_server.access.budget import client_of
from edgemodel_server.endpoints.configuration import model_config
from edgemodel_server.endpoints.inference import infer, infer_inline, infer_target
from edgemodel_server.endpoints.predict import predict
from edgemodel_server.errors import RequestError, shown
from edgemodel_server.http.wire import CLOSE
from edgemodel_server.http.wire import Request as PlainRequest
from edgemodel_server.observability.access_log import log_access, log_line
from edgemodel_server.observability.metrics import CONTENT_TYPE
from edgemodel_server.page.routes import page_routes
from edgemodel_server.protocol.bodies import Body
from edgemodel_server.protocol.calls import Answer, Call, error_answer, error_headers, json_answer, server_timing
from edgemodel_server.protocol.open_inference import EXTENSIONS, MODEL_VERSION, model_metadata
from edgemodel_server.service import Service, State

logger = logging.getLogger(__name__)

CLIENT_GONE = 499
"""Status counted, never sent, for a client that left before it had its answer."""
CLIENT = "edgemodel.client"
"""Key of the ASGI scope: who is charged for the request."""
OPEN_PATHS = frozenset({LIVE_PATH, READY_PATH})
"""What needs no key: load balancers have none."""

EXPOSED_HEADERS = ["inference-header-content-length", "server-timing", "retry-after"]
"""What scripts of other origins may read of an answer, beside what they always may."""

Handler = Callable[[Service, Call], Awaitable[Answer]]


def create_app(service: Service) -> "AuthMiddleware":
    """The ASGI application of ``service``."""
    routes = Routes(service)
    infer_endpoint = Inference(service, "infer", infer)
    predict_endpoint = Inference(service, "predict", predict)
    model, versioned = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    paths: list[tuple[str, Callable[[Request], Awaitable[Response]]]] = [
        (LIVE_PATH, routes.live),
        (READY_PATH, routes.ready),
        (METRICS_PATH, routes.metrics),
        ("/v2", routes.server),
    ]
    for prefix in (model, versioned):
        paths += [
            (prefix, routes.model),
            (f"{prefix}/ready", routes.model_ready),
            (f"{prefix}/config", routes.model_config),
        ]
    app = Starlette(
        routes=[
            *(Route(f"{prefix}/infer", infer_endpoint, methods=["POST"]) for prefix in (model, versioned)),
            Route("/predict", predict_endpoint, methods=["POST"]),
            *(Route(path, handler, methods=["GET"]) for path, handler in paths),
            *page_routes(service),
        ],
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    return AuthMiddleware(service, infer_endpoint, app)


class Routes:
    """One method per route that is not inference."""

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
        return _json({"name": "edgemodel", "version": version("edgemodel"), "extensions": EXTENSIONS})

    async def model(self, request: Request) -> Response:
        """Model metadata."""
        self._check(request)
        return _json(model_metadata(self._service.model().engine.card))

    async def model_config(self, request: Request) -> Response:
        """How the model is served."""
        self._check(request)
        return _json(model_config(self._service))

    async def model_ready(self, request: Request) -> Response:
        """As ``ready``, for one model."""
        name = self._check(request)
        is_ready = self._service.state is State.READY
        return _json({"name": name, "ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    def _check(self, request: Request) -> str:
        """The name of the model in the path. Raises NotFoundError for others than the one served."""
        name: str = request.path_params["name"]
        self._service.named_model(name, request.path_params.get("version", MODEL_VERSION))
        return name


class Inference:
    """ASGI endpoint that answers errors as JSON and measures every request to the last byte written."""

    def __init__(self, service: Service, endpoint: str, handler: Handler) -> None:
        """``endpoint`` is the label in the metrics."""
        self._service = service
        self._metrics = service.metrics
        self._endpoint = endpoint
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        code = CLIENT_GONE
        self._metrics.begin()
        lease = self._service.budget.lease(scope[CLIENT], scope["client"])
        call = Call.of(scope, receive, lease)
        try:
            answer = await self._respond(call)
            await self._complete(call, answer).send(send)
            code = answer.status
        except ClientDisconnect:
            self._metrics.reject("cancelled")
            logger.debug("a client left before it had its answer")
        finally:
            lease.close()
            self._metrics.end(self._endpoint, code, time.perf_counter() - call.started)

    def answer_inline(self, call: Call, body: Body) -> Answer:
        """The answer to an inference request whose ``body`` is there, and which is quick."""
        try:
            answer = infer_inline(self._service, call, body)
        except Exception as error:
            answer = self._failed(error)
        answer = self._complete(call, answer)
        self._metrics.answered(self._endpoint, answer.status, time.perf_counter() - call.started)
        return answer

    async def _respond(self, call: Call) -> Answer:
        try:
            answer = await self._handler(self._service, call)
            call.lease.hold(sum(map(len, answer.parts)))
            return answer
        except ClientDisconnect:
            raise
        except Exception as error:
            return self._failed(error)

    def _complete(self, call: Call, answer: Answer) -> Answer:
        if call.timings:
            answer.headers.append(server_timing(call.timings))
        if self._service.state is State.DRAINING:
            answer.headers.append(CLOSE)
        return answer

    def _failed(self, error: Exception) -> Answer:
        if isinstance(error, RequestError):
            return error_answer(self._counted(error))
        logger.error("a request failed", exc_info=error)
        return json_answer({"error": "the server failed on this request; its log says why"}, 500)

    def _counted(self, error: RequestError) -> RequestError:
        if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("%s", error)
        if error.reason is not None:
            self._metrics.reject(error.reason)
        return error


class AuthMiddleware:
    """What every request passes: its key and rate, and on the way back the access log.

    Inference goes straight to its endpoint. While draining, clients are asked to close their connections, so that
    their next request goes to another server.
    """

    def __init__(self, service: Service, infer_endpoint: Inference, app: ASGIApp) -> None:
        """``app`` serves what is not inference."""
        self._service = service
        self._infer = infer_endpoint
        self._app = app
        self._logs = service.settings.access_log
        self._cors: ASGIApp | None = None
        if service.settings.cors_origins:
            # No header is forbidden, for a browser sends none by itself that would say who its user is.
            self._cors = CORSMiddleware(
                self._serve,
                allow_origins=service.settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=EXPOSED_HEADERS,
            )

    def try_inline(self, request: PlainRequest, body: bytes | bytearray, address: str) -> Answer | None:
        """The answer to a whole request; None where ``__call__`` has to give it, because it may take a while."""
        if request.method != b"POST" or not self._service.is_quick(len(body)) or infer_target(request.path) is None:
            return None
        # What is answered before another request is looked at holds nothing that others could want.
        lease = self._service.budget.lease(address, address)
        call = Call(request.headers, request.path, lease, request.query)
        if b"content-encoding" in call.headers or (self._cors is not None and b"origin" in call.headers):
            return None
        client = ""
        try:
            if self._service.keys.active:
                client = self._service.keys.check(call.headers, address)
        except RequestError as error:
            self._service.metrics.reject(error.reason or "refused")
            answer = error_answer(error)
        else:
            answer = self._infer.answer_inline(call, body)
        if self._logs:
            size = sum(map(len, answer.parts))
            seconds = time.perf_counter() - call.started
            log_line("POST", request.path, answer.status, seconds, size, address, client)
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await (self._cors or self._serve)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = ""
        if self._logs:
            send = log_access(scope, send, lambda: client)
        keys = self._service.keys
        address = (scope["client"] or ("", 0))[0]
        if keys.active and scope["path"] not in OPEN_PATHS:
            try:
                client = keys.check(dict(scope["headers"]), address)
            except RequestError as error:
                self._service.metrics.reject(error.reason or "refused")
                await error_answer(error).send(send)
                return
        scope[CLIENT] = client or client_of(address)
        if scope["method"] == "POST" and infer_target(scope["path"]) is not None:
            await self._infer(scope, receive, send)
        elif self._service.state is State.DRAINING:
            await self._app(scope, receive, _closing(send))
        else:
            await self._app(scope, receive, send)


def _closing(send: Send) -> Send:
    async def send_closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], CLOSE]
        await send(message)

    return send_closing


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


async def _on_request_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return _json({"error": str(error)}, error.status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    return _json({"error": f"{request.method} {shown(request.url.path)}: {error.detail}"}, error.status_code, headers)


HANDLERS: dict[Any, Any] = {RequestError: _on_request_error, HTTPException: _on_http_exception}
