"""Every route of the REST API."""

from functools import partial

from edgemodel_contract.serving import INFER, MODEL_PATH, VERSION_PATH
from edgemodel_server.endpoints.inference import infer
from edgemodel_server.endpoints.metadata import metadata_routes
from edgemodel_server.endpoints.predict import predict
from edgemodel_server.endpoints.routes import Route
from edgemodel_server.page.routes import page_routes
from edgemodel_server.service import Service

MODEL_PATHS = (MODEL_PATH, VERSION_PATH)
INFER_LABEL, PREDICT_LABEL = "infer", "predict"
"""Labels in the metrics."""


def rest_routes(service: Service) -> list[Route]:
    """All of them; those that are asked for most often come first."""
    return [
        *(Route("POST", f"{path}{INFER}", partial(infer, service), INFER_LABEL) for path in MODEL_PATHS),
        Route("POST", "/predict", partial(predict, service), PREDICT_LABEL),
        *metadata_routes(service, MODEL_PATHS),
        *page_routes(service),
    ]
