"""Traces by OpenTelemetry's SDK: a span per inference request, children for its phases, sent by OTLP over HTTP.

Names of attributes are those of OpenTelemetry's semantic conventions for HTTP and RPC servers; ``edgemodel.model.name``
and ``edgemodel.model.digest`` are ours. The query of a request is no attribute, as it is no part of the access log.
"""

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Protocol
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgemodel_contract.serving import INFER, MODEL_PATH, VERSION_PATH
from edgemodel_server.observability.tracing import current

LONGEST = 1024
"""Characters of what a client sent in one attribute: many spans may wait for a collector that is away."""

GRPC_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Status codes that are errors of a server; others are the client's."""

_ROUTES = (
    *((re.compile(re.sub(r"\{\w+\}", "[^/]*", path)), path) for path in (MODEL_PATH + INFER, VERSION_PATH + INFER)),
    (re.compile("/predict"), "/predict"),
)
_PROPAGATOR = TraceContextTextMapPropagator()

Attributes = dict[str, str | int]


class ModelSource(Protocol):
    """What knows which model is served."""

    def identity(self) -> tuple[str, str] | None:
        """Name and digest of the model; None while there is none."""


class RequestSpan:
    """The span of one request, a ``TracedRequest``."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        """The request of a ``span`` that has begun."""
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())
        self._is_answered = False

    def phases(self, timings: Sequence[tuple[str, float]]) -> None:
        """Add a child for each phase, of which the last ended right now."""
        if not self._span.is_recording():
            return
        end = time.time_ns()
        for name, seconds in reversed(timings):
            begin = end - round(seconds * 1e9)
            self._tracer.start_span(name, self._context, start_time=begin).end(end)
            end = begin

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers ``traceparent`` and ``tracestate``."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        return [(name.encode(), value.encode()) for name, value in carrier.items()]

    def answered_http(self, status: int) -> None:
        """The client was sent this status."""
        self._is_answered = True
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._fail(str(status))

    def answered_grpc(self, code: str) -> None:
        """The client was sent the status code of this name, or gave the call up."""
        self._is_answered = True
        self._span.set_attribute("rpc.response.status_code", code)
        if code in GRPC_FAILURES:
            self._fail(code)

    def end(self, error: str) -> None:
        """All is done; an ``error`` of that type is the reason if there was no answer."""
        if not self._is_answered:
            self._fail(error)
        self._span.end()

    def _fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


class Tracing:
    """Makes spans, and sends them from a thread of its own."""

    def __init__(self) -> None:
        """Tracing as the process's environment asks for it."""
        ours = {"service.name": "edgemodel", "service.version": version("edgemodel")}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("edgemodel_server", version("edgemodel"))

    def over_http(self, app: ASGIApp, service: ModelSource) -> ASGIApp:
        """``app``, which ``service`` is behind, with spans."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            route = _route(scope)
            if route is None:
                await app(scope, receive, send)
                return
            attributes = _http_attributes(scope, route) | _model_attributes(service)
            with self._request(f"POST {route}", attributes, scope["headers"]) as request:

                async def send_traced(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        request.answered_http(message["status"])
                    await send(message)

                await app(scope, receive, send_traced)

        return traced

    @contextlib.contextmanager
    def over_grpc(
        self, method: str, headers: Mapping[bytes, bytes], address: str, service: ModelSource
    ) -> Iterator[RequestSpan]:
        """The span of a call of ``method``, as in ``package.Service/Method``, until the block ends."""
        attributes: Attributes = {"rpc.system.name": "grpc", "rpc.method": method, "client.address": address}
        with self._request(method, attributes | _model_attributes(service), headers.items()) as request:
            yield request

    def close(self, seconds: float) -> None:
        """Send what there is; whether it arrived or not, return after so many seconds. Not for the event loop."""
        # The SDK itself would wait for up to half a minute.
        closing = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        closing.start()
        closing.join(seconds)

    @contextlib.contextmanager
    def _request(
        self, name: str, attributes: Attributes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Iterator[RequestSpan]:
        carrier: dict[str, list[str]] = {}
        for header, value in headers:
            if header in (b"traceparent", b"tracestate"):
                carrier.setdefault(header.decode(), []).append(value.decode("latin-1"))
        parent = _PROPAGATOR.extract(carrier, Context())
        request = RequestSpan(self._tracer, self._tracer.start_span(name, parent, SpanKind.SERVER, attributes))
        token = current.set(request)
        # Nothing was raised, and yet there is no answer: nobody is there who could read it.
        error = "cancelled"
        try:
            yield request
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            current.reset(token)
            request.end(error)


def _route(scope: Scope) -> str | None:
    """The route of an inference request; None for any other."""
    if scope["method"] != "POST":
        return None
    return next((route for pattern, route in _ROUTES if pattern.fullmatch(scope["path"])), None)


def _http_attributes(scope: Scope, route: str) -> Attributes:
    headers = dict(scope["headers"])
    attributes: Attributes = {
        "http.request.method": scope["method"],
        "http.route": route,
        "url.path": scope["path"][:LONGEST],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    if scope.get("client"):
        attributes["client.address"] = scope["client"][0]
    if b"user-agent" in headers:
        attributes["user_agent.original"] = headers[b"user-agent"].decode("latin-1")[:LONGEST]
    with contextlib.suppress(ValueError):  # whatever the client calls a host
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")[:LONGEST])
        if host.hostname:
            attributes["server.address"] = host.hostname
            attributes["server.port"] = host.port or (443 if scope["scheme"] == "https" else 80)
    return attributes


def _model_attributes(service: ModelSource) -> Attributes:
    """The model that is served, if it is there yet."""
    identity = service.identity()
    if identity is None:
        return {}
    name, digest = identity
    return {"edgemodel.model.name": name, "edgemodel.model.digest": digest}
