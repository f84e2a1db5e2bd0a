"""The calls of ``inference.GRPCInferenceService``."""

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc

from edgemodel_server.endpoints.configuration import model_config
from edgemodel_server.errors import RequestError
from edgemodel_server.grpc import messages
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.call import Call, StatusError, Unary, status_of
from edgemodel_server.grpc.standard import read
from edgemodel_server.observability.access_log import log_line
from edgemodel_server.observability.tracing import record_phases
from edgemodel_server.protocol import open_inference as protocol
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.service import Model, Service, State

if TYPE_CHECKING:
    from edgemodel_server.observability.spans import Tracing

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
CANCELLED = 499
"""Status counted for a call that its client gave up."""


def inference_methods(service: Service) -> Mapping[bytes, Unary]:
    """The service's calls, by path."""
    calls = Inference(service)
    methods: dict[str, Unary] = {
        "ServerLive": calls.server_live,
        "ServerReady": calls.server_ready,
        "ModelReady": calls.model_ready,
        "ServerMetadata": calls.server_metadata,
        "ModelMetadata": calls.model_metadata,
        "ModelConfig": calls.model_config,
        "ModelInfer": _traced(calls.model_infer, service, service.tracing) if service.tracing else calls.model_infer,
    }
    return {f"/{SERVICE}/{name}".encode(): method for name, method in methods.items()}


def _traced(infer: Unary, service: Service, tracing: "Tracing") -> Unary:
    """``infer`` with a span."""

    async def within_span(content: bytes, call: Call) -> bytes:
        code = grpc.StatusCode.INTERNAL
        with tracing.over_grpc(f"{SERVICE}/ModelInfer", call.headers, call.address, service) as span:
            try:
                answer = await infer(content, call)
                code = grpc.StatusCode.OK
                return answer
            except RequestError as error:
                code = status_of(error)
                raise
            except StatusError as error:
                code = error.code
                raise
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                span.answered_grpc(code.name)

    async def traced(content: bytes, call: Call) -> bytes:
        # A call begins in the context of its connection and may go on in another: what is current needs its own.
        return await asyncio.create_task(within_span(content, call))

    return traced


class Inference:
    """One method per call: the request's bytes in, the response's out. They raise RequestError for no response."""

    def __init__(self, service: Service) -> None:
        """Bind the calls to ``service``."""
        self._service = service
        self._metrics = service.metrics
        self._logs = service.settings.access_log

    async def server_live(self, content: bytes, _: Call) -> bytes:
        """The process answers."""
        read(pb.ServerLiveRequest, content)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, content: bytes, _: Call) -> bytes:
        """Whether traffic should come here."""
        read(pb.ServerReadyRequest, content)
        return pb.ServerReadyResponse(ready=self._service.state is State.READY).SerializeToString()

    async def model_ready(self, content: bytes, call: Call) -> bytes:
        """As ``server_ready``, for one model."""
        self._named_model(pb.ModelReadyRequest, content, call)
        return pb.ModelReadyResponse(ready=self._service.state is State.READY).SerializeToString()

    async def server_metadata(self, content: bytes, call: Call) -> bytes:
        """Server metadata."""
        read(pb.ServerMetadataRequest, content)
        self._check_key(call)
        return pb.ServerMetadataResponse(
            name="edgemodel", version=version("edgemodel"), extensions=protocol.EXTENSIONS
        ).SerializeToString()

    async def model_metadata(self, content: bytes, call: Call) -> bytes:
        """Model metadata."""
        model = self._named_model(pb.ModelMetadataRequest, content, call)
        return messages.model_metadata(protocol.model_metadata(model.engine.card)).SerializeToString()

    async def model_config(self, content: bytes, call: Call) -> bytes:
        """How the model is served."""
        self._named_model(pb.ModelConfigRequest, content, call)
        return messages.model_config(model_config(self._service)).SerializeToString()

    async def model_infer(self, content: bytes, call: Call) -> bytes:
        """Tensors in, tensors out."""
        code, client, size = CANCELLED, "", 0
        self._metrics.begin()
        try:
            client = self._check_key(call)
            answer = await self._infer(content, call)
            code, size = 200, len(answer)
            return answer
        except RequestError as error:
            code = error.status
            raise
        except asyncio.CancelledError:
            self._metrics.reject("cancelled")
            raise
        except Exception:
            code = 500
            raise
        finally:
            seconds = time.perf_counter() - call.started
            self._metrics.end("infer", code, seconds)
            if self._logs:
                log_line("gRPC", f"/{SERVICE}/ModelInfer", code, seconds, size, call.address, client)

    async def _infer(self, content: bytes, call: Call) -> bytes:
        service, started = self._service, call.started
        request: pb.ModelInferRequest = read(pb.ModelInferRequest, content)
        model = service.named_model(request.model_name, request.model_version or protocol.MODEL_VERSION)
        timeout = call.timeout()
        longest = service.settings.request_timeout
        deadline = started + (longest if timeout is None else min(longest, timeout))
        service.scheduler.check(deadline)
        received = time.perf_counter()
        if len(content) <= INLINE_BYTES or request.raw_input_contents:
            decoded = messages.decode_request(request, model.signature)
        else:
            decoded = await service.scheduler.offload_json(messages.decode_request, request, model.signature)
        if decoded.timeout is not None:
            deadline = min(deadline, started + decoded.timeout)
        decode = time.perf_counter() - received
        result = await service.submit(decoded.inputs, decoded.outputs, deadline, call.headers)
        if service.tracing:
            record_phases([("decode", decode), ("queue", result.waited), ("compute", result.computed)])
        return messages.encode_response(model.signature, decoded, result.arrays).SerializeToString()

    def _named_model(self, kind: Any, content: bytes, call: Call) -> Model:
        request = read(kind, content)
        self._check_key(call)
        return self._service.named_model(request.name, request.version or protocol.MODEL_VERSION)

    def _check_key(self, call: Call) -> str:
        """The client; empty where no key is needed."""
        if not self._service.keys.active:
            return ""
        return self._service.keys.check(call.headers, call.address)
