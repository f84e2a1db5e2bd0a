"""Traces as a collector receives them, by OTLP over HTTP."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.methods import SERVICE
from edgemodel_server.grpc.server import GrpcServer
from edgemodel_server.http.app import App
from edgemodel_server.observability.spans import LONGEST
from edgemodel_server.observability.tracing_setup import is_wanted, start_tracing
from edgemodel_server.service import Service
from tests.unit.server.builders import brighter_side, mlp
from tests.unit.server.collector import BODY, PARENT, TRACE, TRACEPARENT, Collector, values
from tests.unit.server.test_infer import INFER
from tests.unit.server.test_limits import HeldEngine
from tests.unit.server.test_predict import picture

pytestmark = pytest.mark.usefixtures("environ")

UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


@contextmanager
def traced(service: Service) -> Iterator[httpx.AsyncClient]:
    """A client of ``service``; at the end all spans are with the collector."""
    tracing = service.tracing = start_tracing(os.environ)
    assert tracing
    transport = httpx.ASGITransport(tracing.over_http(App(service), service))
    try:
        yield httpx.AsyncClient(transport=transport, base_url="http://models.example:8080")
    finally:
        service.close()
        tracing.close(30.0)


NewService = Callable[..., Service]
Load = Callable[[Service], None]


@pytest.fixture
def ready(new_service: NewService, load: Load) -> NewService:
    def build(*args: Any, **options: Any) -> Service:
        service = new_service(*args, **options)
        load(service)
        return service

    return build


async def test_a_request_continues_its_clients_trace_with_a_span_per_phase(
    ready: NewService, collector: Collector
) -> None:
    service = ready(mlp())
    with traced(service) as client:
        answer = await client.post(INFER, json=BODY, headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
        assert answer.status_code == 200
    assert collector.paths == {"/v1/traces"}
    assert {resource["service.name"] for resource in collector.resources} == {"edgemodel"}
    [span] = collector.requests
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=1")
    assert span.name == "POST /v2/models/{name}/infer"
    assert span.status.code == Status.STATUS_CODE_UNSET
    attributes = values(span.attributes)
    assert attributes.pop("user_agent.original").startswith("python-httpx/")
    assert attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v2/models/{name}/infer",
        "url.path": INFER,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "models.example",
        "server.port": 8080,
        "edgemodel.model.name": "digits",
        "edgemodel.model.digest": service.model().digest,
    }
    phases = collector.children(span)
    assert [phase.name for phase in phases] == ["decode", "queue", "compute"]
    times = [span.start_time_unix_nano]
    for phase in phases:
        assert phase.trace_id == span.trace_id
        times += [phase.start_time_unix_nano, phase.end_time_unix_nano]
    assert times == sorted(times)
    assert times[-1] <= span.end_time_unix_nano
    assert len(collector.spans) == 4


async def test_images_are_traced_and_what_is_no_inference_is_not(ready: NewService, collector: Collector) -> None:
    with traced(ready(brighter_side())) as client:
        for path in ("/v2", "/v2/health/ready", "/v2/models/digits", "/predict"):
            await client.get(path)
        assert (
            await client.post("/predict?top_k=2", content=picture(), headers={"content-type": "image/png"})
        ).status_code == 200
    [span] = collector.requests
    assert span.name == "POST /predict"
    assert not span.parent_span_id
    assert values(span.attributes)["url.path"] == "/predict"
    assert [phase.name for phase in collector.children(span)] == ["queue", "compute"]


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
async def test_without_a_trace_to_continue_a_new_one_begins(
    ready: NewService, collector: Collector, traceparent: str
) -> None:
    with traced(ready(mlp())) as client:
        await client.post(INFER, json=BODY, headers={"traceparent": traceparent})
    [span] = collector.requests
    assert not span.parent_span_id
    assert span.trace_id.hex() not in (TRACE, "0" * 32)


async def test_what_a_client_says_of_itself_is_cut(ready: NewService, collector: Collector) -> None:
    with traced(ready(mlp())) as client:
        headers = {"user-agent": "a" * 50_000, "host": "b" * 50_000 + ":80"}
        await client.post(f"/v2/models/{'c' * 50_000}/infer", json=BODY, headers=headers)
    [span] = collector.spans
    assert max(len(str(value)) for value in values(span.attributes).values()) == LONGEST


@pytest.mark.parametrize(
    ("path", "env", "is_ready", "status", "error"),
    [
        (INFER, {}, True, 400, None),
        ("/v2/models/other/infer", {}, True, 404, None),
        ("/v2/models/digits/versions/7/infer", {}, True, 404, None),
        (INFER, {"EDGEMODEL_AUTH_DIR": "keys"}, True, 401, None),
        (INFER, {}, False, 503, "503"),
    ],
)
async def test_refusals_have_spans_and_only_the_servers_own_are_errors(
    new_service: NewService,
    load: Load,
    collector: Collector,
    tmp_path: Path,
    path: str,
    env: Mapping[str, str],
    is_ready: bool,
    status: int,
    error: str | None,
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "one").write_text("secret")
    service = new_service(mlp(), {name: str(tmp_path / value) for name, value in env.items()})
    if is_ready:
        load(service)
    with traced(service) as client:
        assert (await client.post(path, content=b"{")).status_code == status
    [span] = collector.spans
    attributes = values(span.attributes)
    assert attributes["http.response.status_code"] == status
    assert attributes.get("error.type") == error
    assert span.status.code == (Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET)
    assert ("edgemodel.model.digest" in attributes) is is_ready


async def test_a_client_that_leaves_ends_its_span(ready: NewService, collector: Collector) -> None:
    service = ready(mlp())
    with traced(service):
        assert service.tracing
        messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            raise AssertionError(f"nobody is there, and yet {message} is sent")

        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": INFER,
            "scheme": "https",
            "http_version": "1.1",
        }
        scope |= {"headers": [(b"host", b"[::1")], "query_string": b"", "client": None}
        await service.tracing.over_http(App(service), service)(scope, receive, send)
    [span] = collector.spans
    assert values(span.attributes)["error.type"] == "cancelled"
    assert span.status.code == Status.STATUS_CODE_ERROR


@pytest.mark.parametrize(
    ("variables", "traceparent"),
    [
        ({}, UNSAMPLED),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, TRACEPARENT),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, ""),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, TRACEPARENT),
    ],
)
async def test_what_is_not_sampled_is_not_sent(
    ready: NewService,
    environ: pytest.MonkeyPatch,
    collector: Collector,
    variables: dict[str, str],
    traceparent: str,
) -> None:
    for name, value in variables.items():
        environ.setenv(name, value)
    with traced(ready(mlp())) as client:
        answer = await client.post(INFER, json=BODY, headers={"traceparent": traceparent})
        assert answer.status_code == 200
    assert collector.spans == []


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_SERVICE_NAME": "lights"}, "lights"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=lamps,deployment.environment.name=test"}, "lamps"),
    ],
)
async def test_the_environment_names_the_service(
    ready: NewService, environ: pytest.MonkeyPatch, collector: Collector, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        environ.setenv(variable, value)
    with traced(ready(mlp())) as client:
        await client.post(INFER, json=BODY)
    assert {resource["service.name"] for resource in collector.resources} == {name}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "lights"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "1"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_off_unless_the_environment_asks_for_them(environment: dict[str, str], expected: bool) -> None:
    assert is_wanted(environment) is expected
    if not expected:
        assert start_tracing(environment) is None


def test_a_protocol_that_is_not_spoken_is_told(environ: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    environ.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    tracing = start_tracing(os.environ)
    assert tracing
    tracing.close(30.0)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; traces are sent by http/protobuf all the same" in caplog.messages


@pytest.mark.parametrize(
    ("features", "is_ready", "code", "is_error"),
    [(4, True, "OK", False), (5, True, "INVALID_ARGUMENT", False), (4, False, "UNAVAILABLE", True)],
)
async def test_calls_over_grpc_are_traced_likewise(
    new_service: NewService,
    load: Load,
    collector: Collector,
    features: int,
    is_ready: bool,
    code: str,
    is_error: bool,
) -> None:
    service = new_service(mlp())
    if is_ready:
        load(service)
    message = pb.ModelInferRequest(model_name="digits", raw_input_contents=[bytes(4 * features)])
    message.inputs.add(name="x", datatype="FP32", shape=[1, features])
    with traced(service):
        server = GrpcServer(service, None)
        port = await server.start(("127.0.0.1", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            call = infer(message.SerializeToString(), metadata=(("traceparent", TRACEPARENT),), timeout=30)
            assert (await call.code()).name == code
        await server.stop(0.0)
    [span] = collector.requests
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "inference.GRPCInferenceService/ModelInfer"
    attributes = values(span.attributes)
    model = {"edgemodel.model.name": "digits", "edgemodel.model.digest": service.model().digest} if is_ready else {}
    assert attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.response.status_code": code,
        "client.address": "127.0.0.1",
        **model,
        **({"error.type": code} if is_error else {}),
    }
    assert (span.status.code == Status.STATUS_CODE_ERROR) is is_error
    expected = ["decode", "queue", "compute"] if code == "OK" else []
    assert [phase.name for phase in collector.children(span)] == expected


async def test_requests_at_a_time_keep_their_traces_apart(ready: NewService, collector: Collector) -> None:
    parents = [f"{number:016x}" for number in range(1, 17)]
    message = pb.ModelInferRequest(model_name="digits", raw_input_contents=[bytes(16)])
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    service = ready(mlp())
    with traced(service) as client:
        server = GrpcServer(service, None)
        port = await server.start(("127.0.0.1", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            traceparents = [f"00-{TRACE}-{parent}-01" for parent in parents]
            await asyncio.gather(
                *(client.post(INFER, json=BODY, headers={"traceparent": each}) for each in traceparents[::2]),
                *(infer(message.SerializeToString(), metadata=(("traceparent", each),)) for each in traceparents[1::2]),
            )
        await server.stop(0.0)
    assert sorted(span.parent_span_id.hex() for span in collector.requests) == parents
    for span in collector.requests:
        assert [phase.name for phase in collector.children(span)] == ["decode", "queue", "compute"]


async def test_a_call_that_is_given_up_ends_its_span(
    ready: NewService, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ready(mlp())
    engine = HeldEngine(monkeypatch)
    message = pb.ModelInferRequest(model_name="digits", raw_input_contents=[bytes(16)])
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    with traced(service):
        server = GrpcServer(service, None)
        port = await server.start(("127.0.0.1", 0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            call = infer(message.SerializeToString(), timeout=30)
            assert await asyncio.to_thread(engine.begun.wait, 30)
            call.cancel()
            await call.code()
        await server.stop(30.0)
        engine.release.set()
    [span] = collector.spans
    assert values(span.attributes)["rpc.response.status_code"] == "CANCELLED"
    assert span.status.code == Status.STATUS_CODE_UNSET
