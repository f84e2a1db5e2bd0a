"""Every route of the REST API."""

from functools import partial

from edgemodel_server.endpoints.inference import infer
from edgemodel_server.endpoints.metadata import metadata_routes
from edgemodel_server.endpoints.predict import predict
from edgemodel_server.endpoints.routes import Route
from edgemodel_server.page.routes import page_routes
from edgemodel_server.service import Service

MODEL_PATHS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
INFER, PREDICT = "infer", "predict"
"""Labels in the metrics."""


def rest_routes(service: Service) -> list[Route]:
    """All of them; those that are asked for most often come first."""
    return [
        *(Route("POST", f"{path}/infer", partial(infer, service), INFER) for path in MODEL_PATHS),
        Route("POST", "/predict", partial(predict, service), PREDICT),
        *metadata_routes(service, MODEL_PATHS),
        *page_routes(service),
    ]
