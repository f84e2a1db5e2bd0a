"""The gRPC service in this process, through a real channel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import onnx
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.access.budget import Budget
from edgemodel_server.errors import BadRequestError
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.contents import FIELDS
from edgemodel_server.grpc.messages import decode_request
from edgemodel_server.grpc.methods import SERVICE
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.model.cpus import Parallelism
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.open_inference import Signature
from edgemodel_server.protocol.raw import encode_raw
from edgemodel_server.service import Service, load_model
from tests.unit.server.builders import identity, mlp, scaled_by_a_number
from tests.unit.server.test_budget import LIMITS
from tests.unit.server.test_infer import SAMPLES
from tests.unit.server.test_limits import HeldEngine

PARALLELISM = Parallelism(threads=1, workers=1, spinning=False)


class Client:
    """Calls by name, as any client makes them of the protocol file."""

    def __init__(self, channel: grpc.aio.Channel, server: GrpcServer, service: Service) -> None:
        self.channel, self.server, self.service = channel, server, service

    async def call(self, name: str, request: Any, **options: Any) -> Any:
        response = getattr(pb, f"{name}Response")
        method = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return await method(request, timeout=options.pop("timeout", 30), **options)

    async def infer(self, request: pb.ModelInferRequest, **options: Any) -> pb.ModelInferResponse:
        response: pb.ModelInferResponse = await self.call("ModelInfer", request, **options)
        return response

    async def refusal(self, request: pb.ModelInferRequest, **options: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.infer(request, **options)
        return refusal.value


Open = Callable[..., Any]


@pytest.fixture
def client(new_service: Callable[..., Service]) -> Open:
    @asynccontextmanager
    async def build(model: onnx.ModelProto, *, ready: bool = True, **env: str) -> AsyncIterator[Client]:
        service = new_service(model, env)
        if ready:
            service.serve(load_model(service.settings, PARALLELISM))
        server = GrpcServer(service, None)
        port = await server.start(("127.0.0.1", 0))
        await server.set_ready(ready=ready)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel, server, service)
        await server.stop(0)
        service.scheduler.close()

    return build


def tensor(name: str, datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    filled = pb.InferTensorContents(**contents) if contents else None
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=filled)


def row(**fields: Any) -> pb.ModelInferRequest:
    inputs = [tensor("x", "FP32", [1, 4], fp32_contents=[1, 2, 3, 4])]
    return pb.ModelInferRequest(**{"model_name": "digits", "inputs": inputs, **fields})


def raw_row(**fields: Any) -> pb.ModelInferRequest:
    content = np.array([1, 2, 3, 4], dtype=np.float32).tobytes()
    return row(**{"inputs": [tensor("x", "FP32", [1, 4])], "raw_input_contents": [content], **fields})


async def test_typed_and_raw_contents_give_the_same_result_in_the_form_they_came(client: Open) -> None:
    async with client(mlp()) as server:
        typed = await server.infer(row(id="7"))
        raw = await server.infer(raw_row(model_version="1"))
    assert (typed.model_name, typed.model_version, typed.id, raw.id) == ("digits", "1", "7", "")
    (output,) = typed.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("logits", "FP32", [1, 3])
    assert not typed.raw_output_contents
    assert not raw.outputs[0].HasField("contents")
    values = np.frombuffer(raw.raw_output_contents[0], dtype=np.float32)
    np.testing.assert_array_equal(np.float32(output.contents.fp32_contents), values)


async def test_every_datatype_comes_back_as_it_was_sent(client: Open) -> None:
    arrays = {kind: np.array(SAMPLES[kind], dtype=NUMPY[kind]) for kind in sorted(SAMPLES)}
    async with client(identity(sorted(SAMPLES), ["N"])) as server:
        inputs = [tensor(f"in_{kind}", kind, [2]) for kind in arrays]
        contents = [bytes(encode_raw(array)) for array in arrays.values()]
        request = pb.ModelInferRequest(model_name="digits", inputs=inputs, raw_input_contents=contents)
        raw = await server.infer(request)
        assert list(raw.raw_output_contents) == contents
    typed_kinds = sorted(FIELDS)
    async with client(identity(typed_kinds, ["N"])) as server:
        inputs = [tensor(f"in_{kind}", kind, [2], **{FIELDS[kind]: wire(kind, arrays[kind])}) for kind in typed_kinds]
        typed = await server.infer(pb.ModelInferRequest(model_name="digits", inputs=inputs))
        assert [output.contents for output in typed.outputs] == [item.contents for item in inputs]


def wire(kind: Datatype, array: Array) -> list[Any]:
    return [item.encode() for item in array] if kind == "BYTES" else array.tolist()


async def test_outputs_selects_and_orders_and_an_output_without_typed_contents_is_raw(client: Open) -> None:
    async with client(identity(["FP16", "INT64"], [1])) as server:
        request = pb.ModelInferRequest(
            model_name="digits",
            inputs=[tensor("in_INT64", "INT64", [1]), tensor("in_FP16", "FP16", [1])],
            raw_input_contents=[np.array([5]).tobytes(), np.array([0.5], dtype=np.float16).tobytes()],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("out_INT64", "out_FP16")],
        )
        response = await server.infer(request)
        assert [output.name for output in response.outputs] == ["out_INT64", "out_FP16"]
        assert list(response.raw_output_contents) == list(request.raw_input_contents)


@pytest.mark.parametrize(
    ("request_message", "code", "message"),
    [
        (row(model_name="other"), "NOT_FOUND", "there is no model 'other' here"),
        (row(model_version="2"), "NOT_FOUND", "there is no version '2'"),
        (row(inputs=[]), "INVALID_ARGUMENT", "inputs lacks x"),
        (row(inputs=[tensor("y", "FP32", [1])]), "INVALID_ARGUMENT", "inputs[0].name is 'y'"),
        (row(inputs=[tensor("x", "FP64", [1, 4])]), "INVALID_ARGUMENT", "inputs[0].datatype is 'FP64'"),
        (row(inputs=[tensor("x", "FP32", [-1, 4])]), "INVALID_ARGUMENT", "inputs[0].shape[0] is -1"),
        (row(inputs=[tensor("x", "FP32", [2**62, 4])]), "INVALID_ARGUMENT", "inputs[0].shape[0] is 46"),
        (
            row(inputs=[tensor("x", "FP32", [1, 4])]),
            "INVALID_ARGUMENT",
            "inputs[0].contents.fp32_contents has 0 elements",
        ),
        (
            row(inputs=[tensor("x", "FP32", [1, 4], int_contents=[1, 2, 3, 4])]),
            "INVALID_ARGUMENT",
            "inputs[0].contents.int_contents is not for FP32; use fp32_contents",
        ),
        (raw_row(raw_input_contents=[b"123"]), "INVALID_ARGUMENT", "raw_input_contents[0] has 3 bytes"),
        (raw_row(raw_input_contents=[b"", b""]), "INVALID_ARGUMENT", "raw_input_contents has 2 elements; there are 1"),
        (row(raw_input_contents=[b""]), "INVALID_ARGUMENT", "inputs[0].contents is given beside raw_input_contents"),
        (
            row(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y")]),
            "INVALID_ARGUMENT",
            "outputs[0].name is 'y'",
        ),
        (
            row(parameters={"timeout": pb.InferParameter(string_param="soon")}),
            "INVALID_ARGUMENT",
            "parameters.timeout is 'soon'",
        ),
    ],
)
async def test_a_request_that_does_not_fit_is_refused_by_the_field(
    client: Open, request_message: pb.ModelInferRequest, code: str, message: str
) -> None:
    async with client(mlp()) as server:
        error = await server.refusal(request_message)
    assert error.code().name == code
    assert message in str(error.details())


@pytest.mark.parametrize("where", ["inputs", "outputs"])
@pytest.mark.parametrize("raw", [False, True])
async def test_memory_that_client_and_server_share_is_refused_by_name(client: Open, where: str, raw: bool) -> None:
    request = (raw_row if raw else row)(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="logits")])
    getattr(request, where)[0].parameters["shared_memory_region"].string_param = "mine"
    async with client(mlp()) as server:
        error = await server.refusal(request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{where}[0].parameters.shared_memory_region is given" in str(error.details())


@pytest.mark.parametrize("raw", [False, True])
async def test_an_input_without_dimensions_is_served(client: Open, raw: bool) -> None:
    values, factor = np.array([1, 2, 3, 4], np.float32), np.array([2], np.float32)
    inputs = [tensor("x", "FP32", [2, 2]), tensor("factor", "FP32", [])]
    contents = [values.tobytes(), factor.tobytes()] if raw else []
    if not raw:
        inputs[0].contents.fp32_contents.extend(values.tolist())
        inputs[1].contents.fp32_contents.extend(factor.tolist())
    async with client(scaled_by_a_number()) as server:
        response = await server.infer(
            pb.ModelInferRequest(model_name="digits", inputs=inputs, raw_input_contents=contents)
        )
    assert {output.name: list(output.shape) for output in response.outputs} == {"y": [2, 2], "same": []}
    if raw:
        assert list(response.raw_output_contents) == [(2 * values).tobytes(), factor.tobytes()]
    else:
        assert [list(output.contents.fp32_contents) for output in response.outputs] == [[2, 4, 6, 8], [2]]


def classes(*, raw: bool, **parameter: Any) -> pb.ModelInferRequest:
    output = pb.ModelInferRequest.InferRequestedOutputTensor(
        name="out_FP32", parameters={"classification": pb.InferParameter(**parameter)}
    )
    values = [1, 3, 2, 6, 4, 5]
    if raw:
        inputs = [tensor("in_FP32", "FP32", [2, 3])]
        contents = [np.array(values, dtype=np.float32).tobytes()]
    else:
        inputs, contents = [tensor("in_FP32", "FP32", [2, 3], fp32_contents=values)], []
    return pb.ModelInferRequest(model_name="digits", inputs=inputs, raw_input_contents=contents, outputs=[output])


async def test_over_grpc_an_output_is_answered_as_classes(client: Open) -> None:
    async with client(identity(["FP32"], ["N", 3])) as server:
        typed = await server.infer(classes(raw=False, int64_param=1))
        raw = await server.infer(classes(raw=True, int64_param=1))
        assert (typed.outputs[0].datatype, list(typed.outputs[0].shape)) == ("BYTES", [2, 1])
        assert list(typed.outputs[0].contents.bytes_contents) == [b"3.000000:1", b"6.000000:0"]
        assert raw.raw_output_contents[0] == b"\n\0\0\x003.000000:1\n\0\0\x006.000000:0"
        for value in ({"int64_param": 0}, {"string_param": "1"}, {"bool_param": True}, {}):
            error = await server.refusal(classes(raw=True, **value))
            assert error.code().name == "INVALID_ARGUMENT"
            assert "outputs[0].parameters.classification is " in str(error.details())


async def test_metadata_and_configuration(client: Open) -> None:
    async with client(mlp(), EDGEMODEL_MAX_BATCH_SIZE="1") as server:
        assert (await server.call("ServerLive", pb.ServerLiveRequest())).live
        assert (await server.call("ServerReady", pb.ServerReadyRequest())).ready
        assert (await server.call("ModelReady", pb.ModelReadyRequest(name="digits", version="1"))).ready
        metadata = await server.call("ServerMetadata", pb.ServerMetadataRequest())
        assert (metadata.name, next(iter(metadata.extensions))) == ("edgemodel", "binary_tensor_data")
        model = await server.call("ModelMetadata", pb.ModelMetadataRequest(name="digits"))
        assert MessageToDict(model)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
        config = await server.call("ModelConfig", pb.ModelConfigRequest(name="digits"))
        assert MessageToDict(config.config, preserving_proto_field_name=True) == {
            "name": "digits",
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", "4"]}],
            "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": ["-1", "3"]}],
            "instance_group": [{"name": "digits", "count": 1, "kind": "KIND_CPU"}],
            "parameters": {
                "batching_off_because": {"string_value": "maxBatchSize (EDGEMODEL_MAX_BATCH_SIZE) is 1"},
            },
        }
        for name in ("ModelReady", "ModelMetadata", "ModelConfig"):
            with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
                await server.call(name, getattr(pb, f"{name}Request")(name="other"))


async def test_the_access_log_has_calls_with_their_client(
    client: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "alice").write_text("alice-key")
    async with client(mlp(), EDGEMODEL_AUTH_DIR=str(tmp_path), EDGEMODEL_ACCESS_LOG="true") as server:
        with caplog.at_level("INFO"):
            await server.infer(row(), metadata=[("x-api-key", "alice-key")])
            await server.refusal(row())
    lines = [vars(record) for record in caplog.records if record.name == "edgemodel_server.observability.access_log"]
    assert [(line["method"], line["status"], line["client"], line["address"]) for line in lines] == [
        ("gRPC", 200, "alice", "127.0.0.1"),
        ("gRPC", 401, "", "127.0.0.1"),
    ]
    assert lines[0]["path"] == "/inference.GRPCInferenceService/ModelInfer"
    assert lines[0]["bytes"] > 0


async def test_before_the_model_is_there_it_is_unavailable(client: Open) -> None:
    async with client(mlp(), ready=False) as server:
        assert not (await server.call("ServerReady", pb.ServerReadyRequest())).ready
        error = await server.refusal(row())
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_limits_are_those_of_http(client: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("alice-key")
    options = {
        "EDGEMODEL_MAX_BODY": "10k",
        "EDGEMODEL_QUEUE_LIMIT": "2",
        "EDGEMODEL_AUTH_DIR": str(tmp_path),
    }
    key = [("authorization", "Bearer alice-key")]
    async with client(mlp(), **options) as server:
        assert (await server.refusal(row())).code() is grpc.StatusCode.UNAUTHENTICATED
        assert (await server.infer(row(), metadata=[("x-api-key", "alice-key")])).outputs
        large = await server.refusal(row(id="x" * 20_000), metadata=key)
        assert large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        zeros = await server.refusal(row(id="x" * 5_000_000), metadata=key, compression=grpc.Compression.Gzip)
        assert zeros.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        engine = HeldEngine(monkeypatch)
        held = [asyncio.create_task(server.infer(row(), metadata=key))]
        try:
            assert await asyncio.to_thread(engine.begun.wait, 30)
            held.append(asyncio.create_task(server.infer(row(), metadata=key)))
            async with asyncio.timeout(30):
                while server.service.scheduler.waiting < 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            full = await server.refusal(row(), metadata=key)
        finally:
            engine.release.set()
        assert full.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(full.trailing_metadata() or ())["grpc-retry-pushback-ms"]
        assert all(response.outputs for response in await asyncio.gather(*held))
        text = server.service.metrics.render().decode()
    assert 'edgemodel_request_duration_seconds_count{code="429",endpoint="infer"} 1.0' in text
    assert 'edgemodel_requests_rejected_total{reason="client_share"} 1.0' in text
    assert 'edgemodel_requests_rejected_total{reason="unauthorized"} 1.0' in text


@pytest.mark.parametrize("how", ["deadline", "parameter", "cancelled"])
async def test_a_call_that_is_given_up_leaves_the_queue(
    client: Open, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with client(mlp()) as server:
        engine = HeldEngine(monkeypatch)
        first = asyncio.create_task(server.infer(row()))
        try:
            assert await asyncio.to_thread(engine.begun.wait, 30)
            if how == "cancelled":
                second = asyncio.create_task(server.infer(row()))
                async with asyncio.timeout(30):
                    while server.service.scheduler.waiting < 1:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                second.cancel()
            else:
                timeout = {"timeout": pb.InferParameter(int64_param=50_000)} if how == "parameter" else {}
                error = await server.refusal(row(parameters=timeout), timeout=0.05 if how == "deadline" else 30)
                assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            async with asyncio.timeout(30):
                while server.service.scheduler.waiting:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert not first.done()
        finally:
            engine.release.set()
        assert (await first).outputs


SIGNATURE = Signature(
    "digits",
    {
        "x": TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),
        "n": TensorSpec(name="n", datatype="INT8", shape=(1,)),
        "s": TensorSpec(name="s", datatype="BYTES", shape=(-1,)),
    },
    {"y": TensorSpec(name="y", datatype="FP32", shape=(-1,))},
)
texts = st.sampled_from(["x", "n", "s", "y", "FP32", "INT8", "BYTES"])
messages = st.builds(
    pb.ModelInferRequest,
    inputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferInputTensor,
            name=texts,
            datatype=texts,
            shape=st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=3),
            contents=st.none()
            | st.builds(
                pb.InferTensorContents,
                fp32_contents=st.lists(st.floats(width=32), max_size=4),
                int_contents=st.lists(st.integers(-200, 200), max_size=2),
                bytes_contents=st.lists(st.binary(max_size=3), max_size=2),
            ),
        ),
        max_size=4,
    ),
    raw_input_contents=st.just([]) | st.lists(st.binary(max_size=17), max_size=4),
    outputs=st.lists(st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=texts), max_size=2),
)


@given(messages)
def test_any_message_is_a_request_or_a_bad_request(message: pb.ModelInferRequest) -> None:
    try:
        raw = [memoryview(content) for content in message.raw_input_contents]
        request = decode_request(message, raw, SIGNATURE, Budget(LIMITS).lease("client", 1))
    except BadRequestError as error:
        assert 0 < len(str(error)) < 500  # noqa: PT017
        return
    assert [(array.dtype, array.ndim) for array in request.inputs.values()]
