"""Who may talk to an EdgeModel's pods, and whom they may talk to; in force where the cluster's network plugin knows
NetworkPolicies.
"""

from typing import Any

from edgemodel_contract.serving import ADMIN_PORT, GRPC_PORT, HTTP_PORT
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.api.labels import METRICS_LABEL
from edgemodel_operator.manifests.names import child_name, compression_selector, model_labels
from edgemodel_operator.manifests.names import serving_selector as inference_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object

DNS_PORT = 53


def build_serving_policy(model: EdgeModel, spec: Spec, *, peers: bool) -> Object:
    """For the inference pods of all sites. In: users, as the spec allows, and scrapers from namespaces labelled for it
    (probes come from the node itself, which no policy keeps out). Out: nothing, or with ``peers`` each other.
    """
    selector = inference_selector(model.metadata.name)
    served = [_tcp(HTTP_PORT), _tcp(GRPC_PORT)]
    users: dict[str, Any] = {"ports": served}
    if spec.serving.allow_from:
        users["from"] = [{"ipBlock": {"cidr": block}} for block in spec.serving.allow_from]
    scrapers = {
        "ports": [_tcp(ADMIN_PORT)],
        "from": [{"namespaceSelector": {"matchLabels": {METRICS_LABEL: "true"}}}],
    }
    ingress, egress = [users, scrapers], []
    if peers:
        each_other = [{"podSelector": {"matchLabels": selector}}]
        ingress.append({"ports": served, "from": each_other})
        egress = [
            {"ports": served, "to": each_other},
            {"ports": [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]},
        ]
    return _policy(
        model,
        "inference",
        {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    )


def build_compression_policy(model: EdgeModel) -> Object:
    """For the pods of the compression Jobs, which fetch and push, and listen to nobody."""
    return _policy(
        model,
        "compression",
        {
            "podSelector": {"matchLabels": compression_selector(model.metadata.name)},
            "policyTypes": ["Ingress"],
            "ingress": [],
        },
    )


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _policy(model: EdgeModel, component: str, spec: dict[str, Any]) -> Object:
    name = model.metadata.name
    return sealed(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(model, child_name(name, component), model_labels(name, component)),
            "spec": spec,
        }
    )
