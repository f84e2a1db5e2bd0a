"""The PodDisruptionBudget of one site: a drain takes its replicas one after the other."""

from edgemodel_operator.api import EdgeModel
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import model_labels, serving_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object


def build_disruption_budget(model: EdgeModel, site: str) -> Object:
    """At most one of the site's replicas may be evicted at a time. Of a single replica that would say nothing."""
    name = deployment_name(model, site)
    labels = model_labels(model.metadata.name, "inference") | {SITE_LABEL: site}
    return sealed(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(model, name, labels),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": serving_selector(model.metadata.name, site)},
            },
        }
    )
