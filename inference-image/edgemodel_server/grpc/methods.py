"""The calls of ``inference.GRPCInferenceService``."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import grpc

from edgemodel_server.endpoints.configuration import model_config
from edgemodel_server.endpoints.running import encoded, run
from edgemodel_server.errors import RequestError
from edgemodel_server.grpc import messages
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.call import Call, status_of
from edgemodel_server.grpc.handlers import Method, Unary, UnaryMethod
from edgemodel_server.grpc.large import Tally, cut_raw, is_short
from edgemodel_server.grpc.standard import read
from edgemodel_server.protocol import open_inference as protocol
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.protocol.calls import Lease
from edgemodel_server.protocol.open_inference import InferRequest
from edgemodel_server.service import Model, Service, State

if TYPE_CHECKING:
    from edgemodel_server.observability.spans import Tracing

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


def inference_methods(service: Service) -> Mapping[str, Method]:
    """The service's calls, by path."""
    calls = Inference(service)
    infer = _traced(calls.model_infer, service, service.tracing) if service.tracing else calls.model_infer
    methods: dict[str, Method] = {
        # Load balancers have no key.
        "ServerLive": UnaryMethod(calls.server_live, is_open=True),
        "ServerReady": UnaryMethod(calls.server_ready, is_open=True),
        "ModelReady": UnaryMethod(calls.model_ready),
        "ServerMetadata": UnaryMethod(calls.server_metadata),
        "ModelMetadata": UnaryMethod(calls.model_metadata),
        "ModelConfig": UnaryMethod(calls.model_config),
        "ModelInfer": UnaryMethod(infer, endpoint="infer"),
    }
    return {f"/{SERVICE}/{name}": method for name, method in methods.items()}


def _traced(infer: Unary, service: Service, tracing: "Tracing") -> Unary:
    """``infer`` with a span."""

    async def traced(content: bytes, call: Call) -> bytes:
        code = grpc.StatusCode.INTERNAL
        with tracing.over_grpc(f"{SERVICE}/ModelInfer", call.headers, call.handling.address, service) as span:
            try:
                answer = await infer(content, call)
                code = grpc.StatusCode.OK
                return answer
            except RequestError as error:
                code = status_of(error)
                raise
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                span.answered_grpc(code.name)

    return traced


class Inference:
    """One method per call: the request's bytes in, the response's out. They raise RequestError for no response."""

    def __init__(self, service: Service) -> None:
        """Bind the calls to ``service``."""
        self._service = service

    async def server_live(self, content: bytes, _: Call) -> bytes:
        """The process answers."""
        read(pb.ServerLiveRequest, content)
        return pb.ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, content: bytes, _: Call) -> bytes:
        """Whether traffic should come here."""
        read(pb.ServerReadyRequest, content)
        return pb.ServerReadyResponse(ready=self._service.state is State.READY).SerializeToString()

    async def model_ready(self, content: bytes, _: Call) -> bytes:
        """As ``server_ready``, for one model."""
        self._named_model(pb.ModelReadyRequest, content)
        return pb.ModelReadyResponse(ready=self._service.state is State.READY).SerializeToString()

    async def server_metadata(self, content: bytes, _: Call) -> bytes:
        """Server metadata."""
        read(pb.ServerMetadataRequest, content)
        return pb.ServerMetadataResponse(
            name="edgemodel", version=version("edgemodel"), extensions=protocol.EXTENSIONS
        ).SerializeToString()

    async def model_metadata(self, content: bytes, _: Call) -> bytes:
        """Model metadata."""
        model = self._named_model(pb.ModelMetadataRequest, content)
        return messages.model_metadata(protocol.model_metadata(model.engine.card)).SerializeToString()

    async def model_config(self, content: bytes, _: Call) -> bytes:
        """How the model is served."""
        self._named_model(pb.ModelConfigRequest, content)
        return messages.model_config(model_config(self._service)).SerializeToString()

    async def model_infer(self, content: bytes, call: Call) -> bytes:
        """Tensors in, tensors out."""
        service = self._service
        deadline = call.deadline(service.settings.request_timeout)
        service.scheduler.check(deadline)
        signature = service.model().signature
        inferred = await run(
            service,
            partial(self._decode, content, call.lease),
            size=len(content),
            inline=len(content) <= INLINE_BYTES or (is_short(content, INLINE_BYTES) and not signature.takes_strings),
            started=call.handling.started,
            deadline=deadline,
            headers=call.headers,
            lease=call.lease,
        )
        encode = partial(messages.encode_response, signature, inferred.request, inferred.result.arrays, call.lease)
        return await encoded(service, inferred, encode)

    def _decode(self, content: bytes, lease: Lease) -> InferRequest:
        if len(content) <= INLINE_BYTES:
            request = read(pb.ModelInferRequest, content)
            return self._request(request, [memoryview(raw) for raw in request.raw_input_contents], lease)
        with Tally(lease) as tally:
            rest, raw = cut_raw(content, tally)
            return self._request(read(pb.ModelInferRequest, rest), raw, lease)

    def _request(self, message: pb.ModelInferRequest, raw: Sequence[memoryview], lease: Lease) -> InferRequest:
        model = self._service.named_model(message.model_name, message.model_version or protocol.MODEL_VERSION)
        return messages.decode_request(message, raw, model.signature, lease)

    def _named_model(self, kind: Any, content: bytes) -> Model:
        request = read(kind, content)
        return self._service.named_model(request.name, request.version or protocol.MODEL_VERSION)
