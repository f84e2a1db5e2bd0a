"""The calls of ``inference.GRPCInferenceService``."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from edgemodel_server import protocol
from edgemodel_server.access import log_line
from edgemodel_server.bodies import INLINE_BYTES
from edgemodel_server.configuration import model_config
from edgemodel_server.errors import (
    BadRequestError,
    DeadlineError,
    NotFoundError,
    OverloadedError,
    RateLimitedError,
    RefusedError,
    RequestError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from edgemodel_server.grpc_service import messages
from edgemodel_server.grpc_service import open_inference_pb2 as pb
from edgemodel_server.service import Model, Service, State
from edgemodel_server.tracing import record_phases

if TYPE_CHECKING:
    from edgemodel_server.spans import Tracing

logger = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
CANCELLED = 499
"""Status counted for a call that its client gave up."""

R = TypeVar("R")
Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[[Any, Context], Awaitable[Any]]

_CODES: dict[type[RequestError], grpc.StatusCode] = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RateLimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    UnauthorizedError: grpc.StatusCode.UNAUTHENTICATED,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def status_of(error: RequestError) -> grpc.StatusCode:
    """The status code of an error's class; INTERNAL where it has none of its own."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), grpc.StatusCode.INTERNAL)


def handlers(service: Service) -> grpc.GenericRpcHandler:
    """The service's calls, for ``grpc.aio.Server.add_generic_rpc_handlers``."""
    methods = Methods(service)
    infer = partial(methods.traced_infer, service.tracing) if service.tracing else methods.model_infer
    calls: dict[str, tuple[Method, Any]] = {
        "ServerLive": (methods.server_live, pb.ServerLiveRequest),
        "ServerReady": (methods.server_ready, pb.ServerReadyRequest),
        "ModelReady": (methods.model_ready, pb.ModelReadyRequest),
        "ServerMetadata": (methods.server_metadata, pb.ServerMetadataRequest),
        "ModelMetadata": (methods.model_metadata, pb.ModelMetadataRequest),
        "ModelConfig": (methods.model_config, pb.ModelConfigRequest),
        "ModelInfer": (infer, pb.ModelInferRequest),
    }
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(_reading(method, request), response_serializer=_serialize)
            for name, (method, request) in calls.items()
        },
    )


class Methods:
    """One method per call."""

    def __init__(self, service: Service) -> None:
        """Bind the calls to ``service``."""
        self._service = service
        self._metrics = service.metrics
        self._logs = service.settings.access_log

    async def server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Whether traffic should come here."""
        return pb.ServerReadyResponse(ready=self._service.state is State.READY)

    async def model_ready(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """As ``server_ready``, for one model."""
        await self._answer(context, lambda: self._model(request.name, request.version))
        return pb.ModelReadyResponse(ready=self._service.state is State.READY)

    async def server_metadata(self, _: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Server metadata."""
        return await self._answer(
            context,
            lambda: pb.ServerMetadataResponse(
                name="edgemodel", version=version("edgemodel"), extensions=protocol.EXTENSIONS
            ),
        )

    async def model_metadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Model metadata."""

        def metadata() -> pb.ModelMetadataResponse:
            card = self._model(request.name, request.version).engine.card
            return messages.model_metadata(protocol.model_metadata(card))

        return await self._answer(context, metadata)

    async def model_config(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """How the model is served."""

        def config() -> pb.ModelConfigResponse:
            self._model(request.name, request.version)
            return messages.model_config(model_config(self._service))

        return await self._answer(context, config)

    async def model_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Tensors in, tensors out."""
        started = time.perf_counter()
        code, client, size = CANCELLED, "", 0
        self._metrics.begin()
        try:
            client = self._check_key(context)
            response = await self._infer(request, context, started)
            code, size = 200, response.ByteSize() if self._logs else 0
            return response
        except RequestError as error:
            code = error.status
            await self._refuse(context, error)
            raise
        except asyncio.CancelledError:
            self._metrics.reject("cancelled")
            raise
        except grpc.aio.AbortError:
            raise
        except Exception:
            code = 500
            logger.exception("a request failed")
            await context.abort(grpc.StatusCode.INTERNAL, "the server failed on this request; its log says why")
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.end("infer", code, seconds)
            if self._logs:
                log_line("gRPC", f"/{SERVICE}/ModelInfer", code, seconds, size, address(context.peer()), client)

    async def traced_infer(
        self, tracing: "Tracing", request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """As ``model_infer``, with a span."""
        sent, code = headers(context.invocation_metadata()), grpc.StatusCode.CANCELLED
        with tracing.over_grpc(f"{SERVICE}/ModelInfer", sent, address(context.peer()), self._service) as span:
            try:
                response = await self.model_infer(request, context)
                code = grpc.StatusCode.OK
                return response
            except grpc.aio.AbortError:
                code = context.code()
                raise
            finally:
                span.answered_grpc(code.name)

    async def _infer(self, request: pb.ModelInferRequest, context: Context, started: float) -> pb.ModelInferResponse:
        service = self._service
        model = self._model(request.model_name, request.model_version)
        size = request.ByteSize()
        deadline = started + min(service.settings.request_timeout, context.time_remaining() or float("inf"))
        service.scheduler.check(deadline)
        try:
            service.bodies.hold(size)
            received = time.perf_counter()
            if size <= INLINE_BYTES or request.raw_input_contents:
                decoded = messages.decode_request(request, model.signature)
            else:
                decoded = await service.scheduler.offload_json(messages.decode_request, request, model.signature)
            if decoded.timeout is not None:
                deadline = min(deadline, started + decoded.timeout)
            decode = time.perf_counter() - received
            result = await service.submit(
                decoded.inputs, decoded.outputs, deadline, headers(context.invocation_metadata())
            )
        finally:
            service.bodies.release(size)
        if service.tracing:
            record_phases([("decode", decode), ("queue", result.waited), ("compute", result.computed)])
        return messages.encode_response(model.signature, decoded, result.arrays)

    def _model(self, name: str, number: str) -> Model:
        return self._service.named_model(name, number or protocol.MODEL_VERSION)

    def _check_key(self, context: Context) -> str:
        """The client; empty where no key is needed."""
        if not self._service.keys.active:
            return ""
        return self._service.keys.check(headers(context.invocation_metadata()), address(context.peer()))

    async def _answer(self, context: Context, answer: Callable[[], R]) -> R:
        try:
            self._check_key(context)
            return answer()
        except RequestError as error:
            await self._refuse(context, error)
            raise

    async def _refuse(self, context: Context, error: RequestError) -> None:
        if error.reason is not None:
            self._metrics.reject(error.reason)
        trailing: tuple[tuple[str, str], ...] = ()
        if isinstance(error, RefusedError):
            trailing = (("grpc-retry-pushback-ms", str(max(1, round(error.retry_after * 1e3)))),)
        await context.abort(status_of(error), str(error), trailing)


def headers(metadata: Any) -> Mapping[bytes, bytes]:
    """Metadata as ``keys`` reads headers."""
    return {
        str(name).encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in metadata or ()
    }


def address(peer: str) -> str:
    """The address in what gRPC calls a peer, ``ipv4:127.0.0.1:5000``."""
    return peer.partition(":")[2].rpartition(":")[0]


def _reading(method: Method, kind: Any) -> Method:
    """``method`` for bytes: gRPC itself would answer those that are no message of the ``kind`` as a server's fault."""

    async def call(content: bytes, context: Context) -> Any:
        try:
            request = kind.FromString(content)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is not a {kind.DESCRIPTOR.full_name}")
            raise
        return await method(request, context)

    return call


def _serialize(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
