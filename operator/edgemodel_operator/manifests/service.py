"""The Services of one site: what devices behind its base stations call, and what its replicas find each other by."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from edgemodel_contract.serving import GRPC_PORT, HTTP_PORT
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.api.exposure import Expose
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import model_labels, peer_service_name, serving_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object

SERVICE_PORT = 80
SECURE_SERVICE_PORT = 443


def build_service(model: EdgeModel, site: str, expose: Expose, *, secure: bool) -> Object:
    """A Service over the site's inference pods: port 80 as ``http``, or 443 as ``https`` where they speak TLS, and
    ``grpc``; reached as the site's ``expose`` says.
    """
    kind: dict[str, Any] = {"type": expose.type}
    if expose.type != "ClusterIP":
        kind["externalTrafficPolicy"] = expose.external_traffic_policy
    if expose.load_balancer_class is not None:
        kind["loadBalancerClass"] = expose.load_balancer_class
    if expose.internal_traffic_policy is not None:
        kind["internalTrafficPolicy"] = expose.internal_traffic_policy
    web = ("https", SECURE_SERVICE_PORT) if secure else ("http", SERVICE_PORT)
    ports = (_Port(*web, HTTP_PORT, expose.node_port), _Port("grpc", GRPC_PORT, GRPC_PORT, expose.grpc_node_port))
    return _service(model, site, deployment_name(model, site), kind, ports, dict(expose.annotations))


def build_peer_service(model: EdgeModel, site: str) -> Object:
    """A headless Service: its DNS name gives the addresses of the site's ready replicas."""
    name = peer_service_name(model.metadata.name, site)
    ports = (_Port("http", HTTP_PORT, HTTP_PORT), _Port("grpc", GRPC_PORT, GRPC_PORT))
    return _service(model, site, name, {"type": "ClusterIP", "clusterIP": "None"}, ports)


def wants_tls(spec: Spec) -> bool:
    """Whether the servers of this spec speak TLS."""
    return spec.serving.tls is not None


class _Port(NamedTuple):
    name: str
    port: int
    target: int
    node: int | None = None

    def build(self) -> dict[str, Any]:
        node = {} if self.node is None else {"nodePort": self.node}
        return {"name": self.name, "port": self.port, "protocol": "TCP", "targetPort": self.target, **node}


def _service(
    model: EdgeModel,
    site: str,
    name: str,
    kind: dict[str, Any],
    ports: Iterable[_Port],
    annotations: dict[str, str] | None = None,
) -> Object:
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(
                model,
                name,
                model_labels(model.metadata.name, "inference") | {SITE_LABEL: site},
                annotations,
            ),
            "spec": {
                **kind,
                "selector": serving_selector(model.metadata.name, site),
                "ports": [port.build() for port in ports],
            },
        }
    )
