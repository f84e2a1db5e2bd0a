"""The calls of ``inference.GRPCInferenceService``."""

import asyncio
from collections.abc import Mapping
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
from edgemodel_server.grpc.connections import COPIES
from edgemodel_server.grpc.handlers import Method, Unary, UnaryMethod
from edgemodel_server.grpc.standard import read
from edgemodel_server.protocol import open_inference as protocol
from edgemodel_server.protocol.bodies import INLINE_BYTES
from edgemodel_server.service import Model, Service, State

if TYPE_CHECKING:
    from edgemodel_server.observability.spans import Tracing

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

LARGE_BYTES = 1024 * 1024
"""An answer expected to be this large is charged to the budget before it is computed."""


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
        request: pb.ModelInferRequest = read(pb.ModelInferRequest, content)
        model = service.named_model(request.model_name, request.model_version or protocol.MODEL_VERSION)
        expected = _expected_bytes(request, len(content), model)
        if expected >= LARGE_BYTES:
            # Many answers may be computed before the first of them is sent.
            call.lease.hold(COPIES * expected)
        inferred = await run(
            service,
            partial(messages.decode_request, request, model.signature),
            inline=len(content) <= INLINE_BYTES or bool(request.raw_input_contents),
            started=call.handling.started,
            deadline=deadline,
            headers=call.headers,
            lease=call.lease,
        )
        encode = partial(messages.encode_response, model.signature, inferred.request, inferred.result.arrays)
        response = await encoded(service, inferred, encode)
        return response.SerializeToString()

    def _named_model(self, kind: Any, content: bytes) -> Model:
        request = read(kind, content)
        return self._service.named_model(request.name, request.version or protocol.MODEL_VERSION)


def _expected_bytes(request: pb.ModelInferRequest, size: int, model: Model) -> int:
    """What the outputs of a request of ``size`` bytes will take, by those of one row when the model was warmed up."""
    if not model.profile.outputs or not request.inputs or not request.inputs[0].shape:
        return 0
    # What a request says of its shape is checked later: it has no more rows than bytes.
    rows = max(1, min(request.inputs[0].shape[0], size))
    return rows * sum(array.nbytes for array in model.profile.outputs[0])
