"""The inference Deployment of one site."""

import math
from dataclasses import dataclass
from typing import Any

from edgemodel_contract.encoding import digest
from edgemodel_contract.serving import LIVE_PATH, READY_PATH
from edgemodel_operator.api import EDGE_NODE_LABEL, EdgeModel, EnvVar, Resources, Spec, TimingsStatus
from edgemodel_operator.api.labels import REPLICAS_ANNOTATION, REVISION_ANNOTATION, SITE_LABEL
from edgemodel_operator.api.names import DEFAULT_SITE
from edgemodel_operator.api.pods import SpreadConstraint
from edgemodel_operator.manifests.names import child_name, model_labels, peer_service_name, serving_selector
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.manifests.pod_template import extend
from edgemodel_operator.manifests.resources import container_resources
from edgemodel_operator.manifests.security import container_security_context, pod_security_context
from edgemodel_operator.manifests.server import environment, ports, volumes
from edgemodel_operator.observed import SERVER_CONTAINER, Object
from edgemodel_operator.settings import Settings

HOSTNAME_LABEL = "kubernetes.io/hostname"
GRACE_SECONDS = 35
"""The drain delay, and time for the slowest request in flight."""


@dataclass(frozen=True)
class SiteServing:
    """What one site runs, after its overrides."""

    site: str
    image: str
    resources: Resources
    env: tuple[EnvVar, ...] = ()
    timings: TimingsStatus | None = None
    """Of the image."""


def deployment_name(model: EdgeModel, site: str) -> str:
    """Also the name of the site's Service, so it is plain: people write it into gateways.

    Model ``a`` on site ``b-c`` and model ``a-b`` on site ``c`` share one; the API server refuses the second owner, and
    its EdgeModel says NameConflict.
    """
    return child_name(model.metadata.name, site)


def build_deployment(
    model: EdgeModel, spec: Spec, serving: SiteServing, replicas: int | None, settings: Settings
) -> Object:
    """The Deployment. An update starts the new pod first and stops the old one when the new one is ready. ``replicas``
    is None where others set them.
    """
    labels = model_labels(model.metadata.name, "inference") | {SITE_LABEL: serving.site}
    pod = _pod(model, spec, serving, settings)
    template = extend({"metadata": {"labels": labels}, "spec": pod}, spec.serving.pod_template)
    return sealed(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(
                model,
                deployment_name(model, serving.site),
                labels,
                {REVISION_ANNOTATION: digest(template)[:16]}
                | ({REPLICAS_ANNOTATION: "external"} if replicas is None else {}),
            ),
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "revisionHistoryLimit": 2,
                "progressDeadlineSeconds": math.ceil(spec.rollout.progress_deadline),
                "selector": {"matchLabels": serving_selector(model.metadata.name, serving.site)},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
                },
                "template": template,
            },
        }
    )


def gives_up_replicas(desired: Object, present: Object) -> bool:
    """Whether applying ``desired`` leaves the replicas to others, and what was applied before did not."""
    marked = REPLICAS_ANNOTATION in (present["metadata"].get("annotations") or {})
    return desired["kind"] == "Deployment" and "replicas" not in desired["spec"] and not marked


def revision(deployment: Object) -> str | None:
    """The pod template's digest, as the operator applied it."""
    annotations = deployment["metadata"].get("annotations") or {}
    value: str | None = annotations.get(REVISION_ANNOTATION)
    return value


def _pod(model: EdgeModel, spec: Spec, serving: SiteServing, settings: Settings) -> dict[str, Any]:
    mounted, mounts = volumes(spec.serving)
    container: dict[str, Any] = {
        "name": SERVER_CONTAINER,
        "image": serving.image,
        "imagePullPolicy": "IfNotPresent",
        "ports": ports(),
        "env": environment(
            spec.serving, serving.resources, _peers(model, spec, serving.site), serving.timings, serving.env
        ),
        "startupProbe": _probe(READY_PATH, period=1, failures=300),
        "readinessProbe": _probe(READY_PATH, period=2, failures=1),
        "livenessProbe": _probe(LIVE_PATH, period=10, failures=6),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container_security_context(),
    }
    if resources := container_resources(serving.resources):
        container["resources"] = resources
    if mounts:
        container["volumeMounts"] = mounts
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security_context(),
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": _node_selector_terms(spec, serving.site)
                }
            }
        },
        # A site without its link keeps its pods for as long as that lasts: they still serve the users behind it.
        "tolerations": [
            {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute"}
            for taint in ("unreachable", "not-ready")
        ]
        + [{"key": EDGE_NODE_LABEL, "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": _spread(model, spec, serving.site),
        "containers": [container],
    }
    if mounted:
        pod["volumes"] = mounted
    if settings.registry_secret:
        pod["imagePullSecrets"] = [{"name": settings.registry_secret}]
    return pod


def _spread(model: EdgeModel, spec: Spec, site: str) -> list[dict[str, Any]]:
    selector = {"matchLabels": serving_selector(model.metadata.name, site)}
    wanted = spec.serving.pod_template.topology_spread_constraints or (SpreadConstraint(topology_key=HOSTNAME_LABEL),)
    return [
        {
            "topologyKey": item.topology_key,
            "maxSkew": item.max_skew,
            "whenUnsatisfiable": item.when_unsatisfiable,
            "labelSelector": selector,
        }
        for item in wanted
    ]


def _peers(model: EdgeModel, spec: Spec, site: str) -> str | None:
    """A name that every resolver in the cluster completes, whatever the cluster's domain is."""
    if spec.serving.parallelism != "Site":
        return None
    return f"{peer_service_name(model.metadata.name, site)}.{model.metadata.namespace}.svc"


def _node_selector_terms(spec: Spec, site: str) -> list[dict[str, Any]]:
    """One of the terms has to hold. The site ``default`` is that of every node without a site, however it says so."""
    wanted: list[dict[str, Any]] = [
        {"key": key, "operator": "In", "values": [value]} for key, value in sorted(spec.placement.node_selector.items())
    ]
    key = spec.placement.site_label
    if site != DEFAULT_SITE:
        return [{"matchExpressions": [*wanted, {"key": key, "operator": "In", "values": [site]}]}]
    return [
        {"matchExpressions": [*wanted, {"key": key, "operator": "DoesNotExist"}]},
        {"matchExpressions": [*wanted, {"key": key, "operator": "In", "values": ["", DEFAULT_SITE]}]},
    ]


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "successThreshold": 1,
        "failureThreshold": failures,
    }


def site_serving(spec: Spec, site: str, image: str, timings: TimingsStatus | None = None) -> SiteServing:
    """``spec.serving`` with the overrides of ``site``, for an image and its ``timings``."""
    resources = spec.serving.resources
    env = {item.name: item for item in spec.serving.env}
    for override in spec.placement.overrides:
        if override.site == site and override.serving is not None:
            if override.serving.resources is not None:
                resources = override.serving.resources
            env |= {item.name: item for item in override.serving.env}
    return SiteServing(site=site, image=image, resources=resources, env=tuple(env.values()), timings=timings)
