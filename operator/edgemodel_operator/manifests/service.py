"""The Service of one site: what devices behind its base stations call."""

from edgemodel_contract.serving import HTTP_PORT
from edgemodel_operator.api import EdgeModel
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import SITE_LABEL, model_labels, serving_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object

SERVICE_PORT = 80


def build_service(model: EdgeModel, site: str) -> Object:
    """A ClusterIP Service over the site's inference pods; port 80 as ``http``."""
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(
                model,
                deployment_name(model, site),
                model_labels(model.metadata.name, "inference") | {SITE_LABEL: site},
            ),
            "spec": {
                "type": "ClusterIP",
                "selector": serving_selector(model.metadata.name, site),
                "ports": [{"name": "http", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": HTTP_PORT}],
            },
        }
    )
