"""The Services of one site: what devices behind its base stations call, and what its replicas find each other by."""

from edgemodel_contract.serving import GRPC_PORT, HTTP_PORT
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import model_labels, peer_service_name, serving_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object

SERVICE_PORT = 80
SECURE_SERVICE_PORT = 443


def build_service(model: EdgeModel, site: str, *, secure: bool) -> Object:
    """A ClusterIP Service over the site's inference pods: port 80 as ``http``, or 443 as ``https`` where they speak
    TLS, and ``grpc``.
    """
    web = ("https", SECURE_SERVICE_PORT) if secure else ("http", SERVICE_PORT)
    return _service(model, site, deployment_name(model, site), {"type": "ClusterIP"}, (*web, HTTP_PORT))


def build_peer_service(model: EdgeModel, site: str) -> Object:
    """A headless Service: its DNS name gives the addresses of the site's ready replicas."""
    name = peer_service_name(model.metadata.name, site)
    return _service(model, site, name, {"type": "ClusterIP", "clusterIP": "None"}, ("http", HTTP_PORT, HTTP_PORT))


def wants_tls(spec: Spec) -> bool:
    """Whether the servers of this spec speak TLS."""
    return spec.serving.tls is not None


def _service(model: EdgeModel, site: str, name: str, kind: dict[str, str], web: tuple[str, int, int]) -> Object:
    ports = (web, ("grpc", GRPC_PORT, GRPC_PORT))
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(
                model,
                name,
                model_labels(model.metadata.name, "inference") | {SITE_LABEL: site},
            ),
            "spec": {
                **kind,
                "selector": serving_selector(model.metadata.name, site),
                "ports": [
                    {"name": label, "port": port, "protocol": "TCP", "targetPort": target}
                    for label, port, target in ports
                ],
            },
        }
    )
