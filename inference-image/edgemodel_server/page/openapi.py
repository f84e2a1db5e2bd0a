"""The REST API as an OpenAPI 3.1 document: Open Inference Protocol v2, ``/predict``, health, metrics and pages."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from edgemodel_contract.card import ModelCard
from edgemodel_contract.serving import INFER, LIVE_PATH, METRICS_PATH, MODEL_PATH, READY_PATH, VERSION_PATH
from edgemodel_server.endpoints.predict import MAX_TOP_K
from edgemodel_server.images.forms import FIELD, MAX_IMAGES
from edgemodel_server.page.example import example_request, example_shape
from edgemodel_server.page.schemas import Json, reference, schemas
from edgemodel_server.protocol.open_inference import MODEL_VERSION

MAX_EXAMPLE = 256
"""Elements of the largest example request shown."""

_ERRORS = {
    400: "The request is malformed or does not fit the model; the message names the field.",
    401: "This server wants a key and was shown none, or one that it does not know.",
    404: "There is no such model, version or function here.",
    408: "The body did not arrive in time.",
    413: "The body or an image is over its limit.",
    415: "The content type, content coding or image format is not one that this server reads.",
    429: "The key's or address's rate is used up until `Retry-After` seconds have passed.",
    500: "The model failed on a well-formed request.",
    503: "Not ready, or too busy: the same request may succeed after `Retry-After` seconds.",
    504: "The request's time ran out before its result was there.",
}
_GUARDED = (401, 429)
"""What a server with keys or rates answers on every path but those of health."""
_BINARY: Json = {"type": "string", "format": "binary"}
_HEADER_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of the JSON in a body that has binary tensors after it.",
    "schema": {"type": "integer", "minimum": 0},
    "example": 120,
}
_TIMEOUT: Json = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds after which nobody waits for the answer.",
    "schema": {"type": "number", "minimum": 0},
    "example": 1.5,
}


@dataclass(frozen=True)
class Operation:
    """One path and method of the document, for the page that shows it."""

    path: str
    verb: str
    content: Json


def document(card: ModelCard) -> Json:
    """The OpenAPI document of a server of ``card``'s model; its name and shapes are the examples."""
    by_name, by_version = [_name(card)], [_name(card), _version()]
    paths: Json = {}
    for prefix, parameters in ((MODEL_PATH, by_name), (VERSION_PATH, by_version)):
        paths[prefix] = {"parameters": parameters, "get": _metadata()}
        paths[f"{prefix}/config"] = {"parameters": parameters, "get": _config()}
        paths[f"{prefix}/ready"] = {"parameters": parameters, "get": _model_ready()}
        paths[f"{prefix}{INFER}"] = {"parameters": parameters, "post": _infer(card)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EdgeModel inference server",
            "version": version("edgemodel"),
            "description": "The Open Inference Protocol, version 2, and a shortcut for images. "
            "Every error of these paths is a JSON object with one field, `error`: a sentence that says what is wrong "
            "and where. Where the server wants a key, it takes it as a bearer token or as the password of Basic.",
        },
        "servers": [{"url": "."}],
        "tags": [
            {"name": "Inference", "description": "Ask the model."},
            {"name": "Metadata", "description": "What is served."},
            {"name": "Health", "description": "For probes and monitoring."},
            {"name": "Pages", "description": "For people."},
        ],
        "paths": {
            "/predict": {"post": _predict()},
            **paths,
            "/v2": {"get": _server()},
            LIVE_PATH: {"get": _live()},
            READY_PATH: {"get": _ready()},
            METRICS_PATH: {"get": _metrics()},
            "/": {"get": _page("The model's page", "text/html")},
            "/docs": {"get": _page("This description", "text/html")},
            "/openapi.json": {"get": _page("This description as an OpenAPI document", "application/json")},
            "/report.html": {"get": _page("The compression's report", "text/html", absent="The model has none.")},
        },
        "components": {"schemas": schemas()},
    }


def operations(described: Json) -> Iterator[Operation]:
    """The operations of an OpenAPI document in its order, each with the parameters of its path."""
    for path, item in described["paths"].items():
        shared = item.get("parameters", [])
        for verb in ("get", "post"):
            if verb in item:
                yield Operation(path, verb, {**item[verb], "parameters": shared + item[verb].get("parameters", [])})


def _infer(card: ModelCard) -> Json:
    content: Json = {"schema": reference("InferenceRequest")}
    if sum(math.prod(example_shape(spec)) for spec in card.inputs) <= MAX_EXAMPLE:
        content["example"] = example_request(card)
    return {
        "tags": ["Inference"],
        "summary": "Tensors in, tensors out",
        "description": "`data` holds the elements in row-major order, flat or nested as `shape`. Without `outputs` the "
        "answer has all of them. With the binary tensor extension the body is the JSON, whose length a header gives, "
        "and after it the bytes of the inputs that have the parameter `binary_data_size`; outputs with the parameter "
        "`binary_data` are answered likewise. An output with the parameter `classification` is answered as so many of "
        "its largest values, each as `value:index:label`. Bodies may be compressed with gzip or deflate, and so may "
        "answers.",
        "parameters": [_HEADER_LENGTH, _TIMEOUT],
        "requestBody": {
            "required": True,
            "content": {"application/json": content, "application/octet-stream": {"schema": _BINARY}},
        },
        "responses": {
            "200": {
                "description": "The outputs.",
                "headers": {
                    "Server-Timing": {"description": "Where the time went.", "schema": {"type": "string"}},
                    _HEADER_LENGTH["name"]: {key: _HEADER_LENGTH[key] for key in ("description", "schema")},
                },
                "content": {
                    "application/json": {"schema": reference("InferenceResponse")},
                    "application/octet-stream": {"schema": _BINARY},
                },
            },
            **_errors(*_ERRORS),
        },
    }


def _predict() -> Json:
    files = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": MAX_IMAGES}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: files}}
    top_k = {"type": "integer", "minimum": 1, "maximum": MAX_TOP_K}
    return {
        "tags": ["Inference"],
        "summary": "Images in, labels out",
        "description": f"One image as the body, or a multipart form with one or more files in the field `{FIELD}`: "
        "PNG, JPEG, WebP, GIF or BMP. They are converted, resized and scaled as the model takes them.",
        "parameters": [
            {
                "name": "top_k",
                "in": "query",
                "description": "Answer so many of the most probable classes, too.",
                "schema": top_k,
                "example": 5,
            },
            _TIMEOUT,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                **{f"image/{kind}": {"schema": _BINARY} for kind in ("png", "jpeg", "webp")},
            },
        },
        "responses": {
            "200": {
                "description": "The most probable class; for several images, one for each, in order.",
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [reference("PredictedImage"), reference("PredictedImages")]}
                    }
                },
            },
            **_errors(*_ERRORS),
        },
    }


def _metadata() -> Json:
    return {
        "tags": ["Metadata"],
        "summary": "Inputs and outputs of the model",
        "responses": {"200": _json("The model.", "ModelMetadata"), **_errors(*_GUARDED, 404, 503)},
    }


def _config() -> Json:
    return {
        "tags": ["Metadata"],
        "summary": "How the model is served",
        "description": "In the terms of Triton's `ModelConfig`, which its clients ask for.",
        "responses": {"200": _json("The configuration.", "ModelConfiguration"), **_errors(*_GUARDED, 404, 503)},
    }


def _model_ready() -> Json:
    return {
        "tags": ["Health"],
        "summary": "Whether the model is ready",
        "responses": {
            "200": _json("It is.", "ModelReady"),
            "503": _json("It is not, or it is not loaded yet.", "ModelReady", "Error"),
            **_errors(*_GUARDED, 404),
        },
    }


def _server() -> Json:
    return {
        "tags": ["Metadata"],
        "summary": "Name, version and protocol extensions of the server",
        "responses": {"200": _json("The server.", "ServerMetadata"), **_errors(*_GUARDED)},
    }


def _live() -> Json:
    return {
        "tags": ["Health"],
        "summary": "Whether the process answers",
        "responses": {"200": _json("It does.", "Live")},
    }


def _ready() -> Json:
    return {
        "tags": ["Health"],
        "summary": "Whether traffic should come here",
        "description": "Not before the model is loaded and warm, and no longer once the server is told to stop.",
        "responses": {"200": _json("It should.", "Ready"), "503": _json("It should not; `error` says why.", "Ready")},
    }


def _metrics() -> Json:
    return {
        "tags": ["Health"],
        "summary": "Metrics for Prometheus",
        "responses": {
            "200": {
                "description": "The text exposition format, version 0.0.4.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_errors(*_GUARDED),
        },
    }


def _page(summary: str, media_type: str, absent: str | None = None) -> Json:
    kind = "object" if media_type == "application/json" else "string"
    responses: Json = {
        "200": {"description": "The document.", "content": {media_type: {"schema": {"type": kind}}}},
        **_errors(*_GUARDED),
        "503": {"description": "The model is being loaded."},
    }
    if absent:
        responses["404"] = _json(absent, "Error")
    return {"tags": ["Pages"], "summary": summary, "responses": responses}


def _name(card: ModelCard) -> Json:
    return {
        "name": "name",
        "in": "path",
        "required": True,
        "description": "The model's name.",
        "schema": {"type": "string", "minLength": 1},
        "example": card.name,
    }


def _version() -> Json:
    return {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "The model's version.",
        "schema": {"type": "string", "minLength": 1},
        "example": MODEL_VERSION,
    }


def _errors(*codes: int) -> Json:
    described = {str(code): _json(_ERRORS[code], "Error") for code in codes}
    for code in described.keys() & {"429", "503"}:
        described[code]["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return described


def _json(description: str, *schemas: str) -> Json:
    schema = reference(schemas[0]) if len(schemas) == 1 else {"anyOf": [reference(name) for name in schemas]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
