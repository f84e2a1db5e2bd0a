"""The children: what to apply, to scale and to delete, given what was decided about compression and sites."""

from dataclasses import dataclass

from edgemodel_operator.manifests.config_map import build_task_config_map
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.disruption_budget import build_disruption_budget
from edgemodel_operator.manifests.drift import differs
from edgemodel_operator.manifests.job import build_job
from edgemodel_operator.manifests.names import peer_service_name
from edgemodel_operator.manifests.network_policy import build_compression_policy, build_serving_policy
from edgemodel_operator.manifests.service import build_peer_service, build_service, wants_tls
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.context import Context
from edgemodel_operator.plan.policy.compression import Compression, Running
from edgemodel_operator.plan.policy.exposure import doubled_ports, site_expose
from edgemodel_operator.plan.policy.placement import missing_sites, off_edge
from edgemodel_operator.plan.sites import SitePlan


@dataclass(frozen=True)
class Ref:
    """A child by kind and name, in the EdgeModel's namespace."""

    kind: str
    name: str


@dataclass(frozen=True)
class Scale:
    """Change nothing of a Deployment but its replicas: its site waits for its wave."""

    name: str
    replicas: int


@dataclass(frozen=True)
class ChildChanges:
    """What to do to the children."""

    apply: tuple[Object, ...]
    scale: tuple[Scale, ...]
    delete: tuple[Ref, ...]


def child_changes(context: Context, compression: Compression | None, sites: list[SitePlan]) -> ChildChanges:
    """From what there is to what there should be."""
    model, spec, task, observed, settings = (
        context.model,
        context.spec,
        context.task,
        context.observed,
        context.settings,
    )
    wanted: list[Object] = []
    scales: list[Scale] = []
    if settings.network_policies:
        wanted.append(build_compression_policy(model))
    if isinstance(compression, Running):
        wanted.append(build_task_config_map(model, task, settings))
        if compression.job is None:
            wanted.append(build_job(model, spec, task, compression.attempt, off_edge(observed.nodes), settings))
    if settings.network_policies and any(item.desired for item in sites):
        peers = any(_asks_peers(context, item) for item in sites)
        wanted.append(build_serving_policy(model, spec, peers=peers))
    doubled = doubled_ports(spec, [item.health.name for item in sites])
    for item in sites:
        # A site without its link is left exactly as it is, until it is back.
        if item.desired is None or not item.health.site.connected:
            continue
        expose = site_expose(spec, item.health.name)
        around: list[Object] = []
        # A port that is another site's is not taken from it: the Service is left as it is, and the status says so.
        if item.health.name not in doubled:
            around.append(build_service(model, item.health.name, expose, secure=_secure(context, item)))
        if _is_replicated(item):
            around.append(build_disruption_budget(model, item.health.name))
        if item.admitted:
            if spec.serving.parallelism == "Site":
                wanted.append(build_peer_service(model, item.health.name))
            wanted += [item.desired, *around]
            continue
        name = item.desired["metadata"]["name"]
        present = observed.deployments.get(name)
        if present is not None:
            wanted += around
            if not item.scaling.is_left and present.replicas != item.scaling.replicas:
                scales.append(Scale(name, item.scaling.replicas))
    return ChildChanges(
        apply=tuple(obj for obj in wanted if differs(obj, observed.present(obj))),
        scale=tuple(scales),
        delete=tuple(_superfluous(context, compression, sites)),
    )


def _is_replicated(item: SitePlan) -> bool:
    """Whether the site has replicas of which one can be evicted while others serve."""
    return item.scaling.replicas > 1


def _secure(context: Context, item: SitePlan) -> bool:
    """Whether users reach the site over TLS: as before, until all its servers do what is desired."""
    present = context.observed.services.get(deployment_name(context.model, item.health.name))
    if present is None or (item.updated and item.health.settled_at is not None):
        return wants_tls(context.spec)
    return present.secure


def _asks_peers(context: Context, item: SitePlan) -> bool:
    """Whether replicas of the site look for each other: those of the version before may still do."""
    if context.spec.serving.parallelism == "Site":
        return True
    name = peer_service_name(context.model.metadata.name, item.health.name)
    return not item.updated and name in context.observed.services


def _superfluous(context: Context, compression: Compression | None, sites: list[SitePlan]) -> list[Ref]:
    """Children that nothing asks for any more. Where no node matches at all, what serves is left: that is rather
    a slip in a label than a wish to serve nobody.
    """
    model, task, observed = context.model, context.task, context.observed
    found: list[Ref] = []
    if sites:
        missing = missing_sites(context.spec.placement, [item.health.site for item in sites])
        keep = {deployment_name(model, name) for name in (*(item.health.name for item in sites), *missing)}
        found += [Ref("Deployment", name) for name in observed.deployments if name not in keep]
        keep |= {
            peer_service_name(model.metadata.name, item.health.name) for item in sites if _asks_peers(context, item)
        }
        keep |= {peer_service_name(model.metadata.name, name) for name in missing}
        found += [Ref("Service", name) for name in observed.services if name not in keep]
        budgets = {deployment_name(model, item.health.name) for item in sites if _is_replicated(item)}
        budgets |= {deployment_name(model, name) for name in missing}
        found += [
            Ref("PodDisruptionBudget", name) for name in observed.of_kind("PodDisruptionBudget") if name not in budgets
        ]
    if not context.settings.network_policies:
        found += [Ref("NetworkPolicy", name) for name in observed.of_kind("NetworkPolicy")]
    newest = max((job.attempt for job in observed.jobs.values() if job.task == task.tag), default=0)
    if isinstance(compression, Running) and compression.job is None:
        newest = compression.attempt
    found += [Ref("Job", name) for name, job in observed.jobs.items() if (job.task, job.attempt) != (task.tag, newest)]
    found += [Ref("ConfigMap", name) for name, item in observed.of_kind("ConfigMap").items() if item.task != task.tag]
    return found
