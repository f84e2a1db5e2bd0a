"""The sites: how each does, what it should be, and which of them may have the new version yet."""

from dataclasses import dataclass, replace

from edgemodel_operator.api import ModelStatus, SiteState, reasons
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.manifests.deployment import build_deployment, deployment_name, revision, site_serving
from edgemodel_operator.observed import Object, Replicas
from edgemodel_operator.plan.context import Context
from edgemodel_operator.plan.policy.contest import is_contested, left_to_others, scaling_digest, seen
from edgemodel_operator.plan.policy.health import SiteHealth, site_health
from edgemodel_operator.plan.policy.placement import Site, missing_sites
from edgemodel_operator.plan.policy.rollout import Admission, SiteProgress, admit
from edgemodel_operator.plan.policy.scaling import Decision, limits, scale


@dataclass(frozen=True)
class SitePlan:
    """One site: how it does, what it should be, and whether it may be that yet."""

    health: SiteHealth
    scaling: Decision
    desired: Object | None
    replicas: Replicas
    """As found."""
    admitted: bool = True

    @property
    def updated(self) -> bool:
        """The Deployment asks for what is desired already."""
        return self.desired is not None and self.health.revision == revision(self.desired)

    @property
    def replicas_asked(self) -> Replicas:
        """The replicas once the plan is carried out."""
        if self.replicas.asked is None or self.desired is None or not self.health.site.connected:
            return self.replicas
        return replace(self.replicas, asked=self.scaling.replicas)


def plan_sites(
    context: Context, sites: tuple[Site, ...], version: ModelStatus | None
) -> tuple[list[SitePlan], Admission]:
    """The ``sites`` with what each should run of ``version``, and how far its rollout is."""
    model, spec, observed, now = context.model, context.spec, context.observed, context.now
    plans = []
    settled = {site.name: site.revision for site in model.status.sites if site.revision is not None}
    left = {(site.name, site.contested) for site in model.status.sites}
    external = spec.scaling.managed_by == "External"
    for site in sites:
        bounds = limits(spec, site.name)
        present = observed.deployments.get(deployment_name(model, site.name))
        pods = [pod for pod in observed.pods if pod.labels.get(SITE_LABEL) == site.name]
        found = present.replicas if present is not None else None
        replicas = seen(observed.replicas.get(site.name, Replicas()), found, now)
        contested = not external and (is_contested(replicas) or (site.name, scaling_digest(bounds)) in left)
        health = site_health(site, present, pods, None if external else bounds.minimum, settled.get(site.name), now)
        scaling = left_to_others(found, external=external, contested=contested) or scale(
            bounds,
            found,
            observed.latency.get(site.name) if site.connected else None,
            observed.recommendations.get(site.name, ()),
            health.capacity_limited,
            context.staleness,
            now,
        )
        desired = None
        if version is not None:
            serving = site_serving(spec, site.name, version.image, version.timings)
            asked = None if scaling.is_left else scaling.replicas
            desired = build_deployment(model, spec, serving, asked, context.settings)
        health = replace(health, contested=scaling_digest(bounds) if contested else None)
        plans.append(SitePlan(health, scaling, desired, replicas))
    admission = admit(
        [
            SiteProgress(
                item.health.name,
                item.updated,
                item.health.settled_at if item.updated else None,
                item.health.site.connected,
                item.health.deadline_exceeded,
            )
            for item in plans
        ],
        spec.rollout,
        now,
    )
    return [_waiting_for_version(item, admission) for item in plans], admission


def sites_left_alone(context: Context, sites: tuple[Site, ...]) -> list[SiteHealth]:
    """Sites that serve although no node matches them any more, in the order of their names: they are not touched, and
    the status tells that users are served."""
    kept = set(missing_sites(context.spec.placement, sites))
    found = []
    for deployment in context.observed.deployments.values():
        name = deployment.site
        if (name in kept or not sites) and name:
            pods = [pod for pod in context.observed.pods if pod.labels.get(SITE_LABEL) == name]
            site = Site(name, connected=True)
            found.append(site_health(site, deployment, pods, 1, deployment.revision, context.now))
    return sorted(found, key=lambda health: health.name)


def _waiting_for_version(item: SitePlan, admission: Admission) -> SitePlan:
    """A site that does well with another version than the desired one is not Ready: it waits, or is under way."""
    health = item.health
    admitted = health.name in admission.sites
    if item.desired is not None and not item.updated and health.state in ("Ready", "Pending"):
        waiting = (reasons.UPDATING, "The new version is being rolled out here.")
        if not admitted:
            waiting = (reasons.WAITING_FOR_WAVE, "The new version reaches this site in a later wave.")
            if admission.state == "Stopped":
                waiting = (reasons.ROLLOUT_STOPPED, "The new version does not come here: it failed at other sites.")
        state: SiteState = "Progressing" if admitted else "Pending"
        health = replace(health, state=state, reason=waiting[0], message=waiting[1], settled_at=None)
    return replace(item, health=health, admitted=admitted)
