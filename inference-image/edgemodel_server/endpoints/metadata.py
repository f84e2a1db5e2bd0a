"""GET: whether server and model are ready, what they are, and what they measured."""

from functools import partial
from http import HTTPStatus
from importlib.metadata import version

from edgemodel_contract.serving import LIVE_PATH, METRICS_PATH, READY_PATH
from edgemodel_server.endpoints.configuration import model_config
from edgemodel_server.endpoints.routes import Route
from edgemodel_server.observability.metrics import CONTENT_TYPE
from edgemodel_server.protocol.calls import Answer, Call, json_answer
from edgemodel_server.protocol.open_inference import EXTENSIONS, MODEL_VERSION, model_metadata
from edgemodel_server.service import Model, Service, State


def metadata_routes(service: Service, model_paths: tuple[str, ...]) -> list[Route]:
    """Those of ``service`` and of its model, which has ``model_paths``."""
    # Load balancers and the kubelet have no key.
    routes = [
        Route("GET", LIVE_PATH, live, is_open=True),
        Route("GET", READY_PATH, partial(ready, service), is_open=True),
        Route("GET", METRICS_PATH, partial(metrics, service)),
        Route("GET", "/v2", server),
    ]
    for path in model_paths:
        routes += [
            Route("GET", path, partial(metadata, service)),
            Route("GET", f"{path}/ready", partial(model_ready, service)),
            Route("GET", f"{path}/config", partial(configuration, service)),
        ]
    return routes


async def live(_: Call) -> Answer:
    """The process answers."""
    return json_answer({"live": True})


async def ready(service: Service, _: Call) -> Answer:
    """Whether traffic should come here: 503 before the model is warm and while draining."""
    state = service.state
    if state is State.READY:
        return json_answer({"ready": True})
    return json_answer({"ready": False, "error": state.value}, HTTPStatus.SERVICE_UNAVAILABLE)


async def metrics(service: Service, _: Call) -> Answer:
    """Prometheus text exposition."""
    return Answer(200, [service.metrics.render()], [(b"content-type", CONTENT_TYPE.encode())])


async def server(_: Call) -> Answer:
    """Server metadata."""
    return json_answer({"name": "edgemodel", "version": version("edgemodel"), "extensions": EXTENSIONS})


async def metadata(service: Service, call: Call) -> Answer:
    """Model metadata."""
    return json_answer(model_metadata(_model(service, call).engine.card))


async def configuration(service: Service, call: Call) -> Answer:
    """How the model is served."""
    _model(service, call)
    return json_answer(model_config(service))


async def model_ready(service: Service, call: Call) -> Answer:
    """As ``ready``, for one model."""
    name = _model(service, call).engine.card.name
    is_ready = service.state is State.READY
    return json_answer({"name": name, "ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _model(service: Service, call: Call) -> Model:
    """The model that the path names. Raises NotFoundError for others than the one served."""
    return service.named_model(call.parameters["name"], call.parameters.get("version", MODEL_VERSION))
