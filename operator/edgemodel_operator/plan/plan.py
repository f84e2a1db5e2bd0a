"""The whole operator as one pure function: ``plan(model, observed, settings, now) -> Plan``.

No I/O, no clock, no client. The same state gives the same plan, so any step may be killed and planned again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from edgemodel_contract.task import Task
from edgemodel_operator.api import EdgeModel, ModelStatus, SiteState, Spec, Status, reasons
from edgemodel_operator.manifests.config_map import build_task_config_map
from edgemodel_operator.manifests.deployment import build_deployment, deployment_name, revision, site_serving
from edgemodel_operator.manifests.drift import differs
from edgemodel_operator.manifests.job import attempt_of, build_job
from edgemodel_operator.manifests.names import SITE_LABEL, TASK_LABEL, peer_service_name
from edgemodel_operator.manifests.network_policy import build_compression_policy, build_serving_policy
from edgemodel_operator.manifests.owned import applied_hash
from edgemodel_operator.manifests.service import build_peer_service, build_service, is_secure, wants_tls
from edgemodel_operator.observed import Object, Observed, Recommendation
from edgemodel_operator.plan.policy.compression import Compression, Done, Failed, Running, decide
from edgemodel_operator.plan.policy.health import SiteHealth, site_health
from edgemodel_operator.plan.policy.mounts import PATIENCE, is_being_created
from edgemodel_operator.plan.policy.placement import Site, find_sites, missing_sites, off_edge
from edgemodel_operator.plan.policy.rollout import SiteProgress, admit
from edgemodel_operator.plan.policy.scaling import Decision, limits, scale
from edgemodel_operator.plan.policy.task import desired_task
from edgemodel_operator.plan.policy.validation import find_problem
from edgemodel_operator.plan.status import verdict
from edgemodel_operator.plan.status.conditions import Finding, Transition, merge, transitions
from edgemodel_operator.plan.status.figures import compression_status, model_status, site_statuses, summary
from edgemodel_operator.settings import Settings

WATCH_PROGRESS = timedelta(seconds=3)
"""How often the log of a running Job is read."""


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
class Plan:
    """What to do, in this order: apply, scale, delete, write the status, record the transitions as events."""

    status: Status
    apply: tuple[Object, ...] = ()
    scale: tuple[Scale, ...] = ()
    delete: tuple[Ref, ...] = ()
    transitions: tuple[Transition, ...] = ()
    requeue_after: timedelta | None = None
    recommendations: Mapping[str, tuple[Recommendation, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class SitePlan:
    """One site: how it does, what it should be, and whether it may be that yet."""

    health: SiteHealth
    scaling: Decision
    desired: Object | None
    admitted: bool = True

    @property
    def updated(self) -> bool:
        """The Deployment asks for what is desired already."""
        return self.desired is not None and self.health.revision == revision(self.desired)


def plan(model: EdgeModel, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Decide everything about one EdgeModel."""
    problem = find_problem(model)
    if model.spec is None or problem is not None:
        reason, message = (problem.reason, problem.message) if problem else (reasons.INVALID_SPEC, "")
        return _finish(model, model.status, verdict.halted(model, reason, message), now)
    spec = model.spec
    task = desired_task(model, spec, settings)
    compression = _compression(model, spec, task, observed, settings, now)
    version = model_status(model.status.model, compression.result) if isinstance(compression, Done) else None
    served = version if version is not None else model.status.model

    all_sites = find_sites(spec.placement, observed.nodes)
    sites, recheck_at = _plan_sites(model, spec, all_sites, served, observed, settings, now)
    measured = model.status.compression if compression is None else compression_status(model, task.digest, compression)
    stale_after = staleness(settings)
    healths = [item.health for item in sites] + _left_alone(spec, all_sites, observed, now)
    ready_sites = sum(site.state == "Ready" for site in healths)
    status = Status(
        observed_generation=model.metadata.generation,
        model=served,
        compression=measured,
        sites=site_statuses(model, healths, observed.latency, stale_after, now),
        summary=summary(measured, ready_sites, len(healths)),
        ready_sites=ready_sites,
        total_sites=len(healths),
        replicas=sum(site.replicas for site in healths),
        ready_replicas=sum(site.ready for site in healths),
    )
    findings = verdict.judge(
        verdict.Facts(
            spec=spec,
            compression=compression,
            measured=measured,
            image=served.image if served is not None else None,
            sites=healths,
            matched=bool(all_sites),
            scaling={item.health.name: item.scaling for item in sites},
            missing=missing_sites(spec.placement, all_sites),
            refusals=observed.refusals,
        )
    )
    if spec.suspend:
        return _finish(model, status, findings, now)
    actions = _actions(model, spec, task, compression, sites, observed, settings)
    waits = [recheck_at - now] if recheck_at else []
    if isinstance(compression, Running):
        waits.append(WATCH_PROGRESS)
    if any(is_being_created(pod) for pod in observed.pods):
        waits.append(PATIENCE)
    if isinstance(compression, Failed) and compression.retry_at:
        waits.append(compression.retry_at - now)
    finished = _finish(model, status, findings, now)
    return Plan(
        status=finished.status,
        transitions=finished.transitions,
        apply=actions.apply,
        scale=actions.scale,
        delete=actions.delete,
        requeue_after=max(min(waits), timedelta(seconds=0.1)) if waits else None,
        recommendations={item.health.name: item.scaling.history for item in sites},
    )


def staleness(settings: Settings) -> timedelta:
    """Figures older than this say nothing about now."""
    return timedelta(seconds=3 * settings.scrape_seconds)


def _compression(
    model: EdgeModel, spec: Spec, task: Task, observed: Observed, settings: Settings, now: datetime
) -> Compression | None:
    """None: the version in the status is that of ``task``, nothing is left to do."""
    if model.status.model is not None and model.status.model.task == task.digest:
        return None
    found = decide(task, observed.of_kind("Job"), observed.pods, observed.progress, now, observed.refused_pods)
    if isinstance(found, Running | Failed) and found.job is not None:
        # Nodes that come and go are no reason to lose the work of a Job that has a node.
        choices = {off_edge(observed.nodes)} if found.reason == reasons.JOB_UNSCHEDULABLE else {True, False}
        intended = [build_job(model, spec, task, found.attempt, choice, settings) for choice in choices]
        if applied_hash(observed.of_kind("Job")[found.job]) not in map(applied_hash, intended):
            # More memory or another node, say: what the Job runs with is not part of the task, and Jobs are immutable.
            return Running(found.attempt + 1, job=None, message="The Job's settings have changed; it starts over.")
    return found


def _plan_sites(
    model: EdgeModel,
    spec: Spec,
    sites: tuple[Site, ...],
    version: ModelStatus | object,
    observed: Observed,
    settings: Settings,
    now: datetime,
) -> tuple[list[SitePlan], datetime | None]:
    plans = []
    settled = {site.name: site.revision for site in model.status.sites if site.revision is not None}
    for site in sites:
        bounds = limits(spec, site.name)
        present = observed.of_kind("Deployment").get(deployment_name(model, site.name))
        pods = [pod for pod in observed.pods if pod.labels.get(SITE_LABEL) == site.name]
        health = site_health(site, present, pods, bounds.minimum, settled.get(site.name), now)
        scaling = scale(
            bounds,
            present["spec"].get("replicas", 1) if present else None,
            observed.latency.get(site.name) if site.connected else None,
            observed.recommendations.get(site.name, ()),
            health.capacity_limited,
            staleness(settings),
            now,
        )
        desired = None
        if isinstance(version, ModelStatus):
            serving = site_serving(spec, site.name, version.image, version.timings)
            desired = build_deployment(model, spec, serving, scaling.replicas, settings)
        plans.append(SitePlan(health, scaling, desired))
    admission = admit(
        [
            SiteProgress(
                item.health.name,
                item.updated,
                item.health.settled_at if item.updated else None,
                item.health.site.connected,
            )
            for item in plans
        ],
        spec.rollout.waves,
        timedelta(seconds=spec.rollout.soak),
        spec.rollout.paused,
        now,
    )
    return [_judged(item, item.health.name in admission.sites) for item in plans], admission.recheck_at


def _left_alone(spec: Spec, sites: tuple[Site, ...], observed: Observed, now: datetime) -> list[SiteHealth]:
    """Sites that serve although no node matches them any more, in the order of their names: they are not touched, and
    the status tells that users are served."""
    kept = set(missing_sites(spec.placement, sites))
    found = []
    for deployment in observed.of_kind("Deployment").values():
        name = deployment["metadata"]["labels"].get(SITE_LABEL, "")
        if (name in kept or not sites) and name:
            pods = [pod for pod in observed.pods if pod.labels.get(SITE_LABEL) == name]
            found.append(site_health(Site(name, connected=True), deployment, pods, 1, revision(deployment), now))
    return sorted(found, key=lambda health: health.name)


def _judged(item: SitePlan, admitted: bool) -> SitePlan:
    """A site that does well with another version than the desired one is not Ready: it waits, or is under way."""
    health = item.health
    if item.desired is not None and not item.updated and health.state in ("Ready", "Pending"):
        waiting = (reasons.UPDATING, "The new version is being rolled out here.")
        if not admitted:
            waiting = (reasons.WAITING_FOR_WAVE, "The new version reaches this site in a later wave.")
        state: SiteState = "Progressing" if admitted else "Pending"
        health = replace(health, state=state, reason=waiting[0], message=waiting[1], settled_at=None)
    return SitePlan(health, item.scaling, item.desired, admitted)


@dataclass(frozen=True)
class _Actions:
    apply: tuple[Object, ...]
    scale: tuple[Scale, ...]
    delete: tuple[Ref, ...]


def _actions(
    model: EdgeModel,
    spec: Spec,
    task: Task,
    compression: Compression | None,
    sites: list[SitePlan],
    observed: Observed,
    settings: Settings,
) -> _Actions:
    wanted: list[Object] = []
    scales: list[Scale] = []
    if settings.network_policies:
        wanted.append(build_compression_policy(model))
    if isinstance(compression, Running):
        wanted.append(build_task_config_map(model, task, settings))
        if compression.job is None:
            wanted.append(build_job(model, spec, task, compression.attempt, off_edge(observed.nodes), settings))
    if settings.network_policies and any(item.desired for item in sites):
        peers = any(_asks_peers(model, spec, item, observed) for item in sites)
        wanted.append(build_serving_policy(model, spec, peers=peers))
    for item in sites:
        # A site without its link is left exactly as it is, until it is back.
        if item.desired is None or not item.health.site.connected:
            continue
        service = build_service(model, item.health.name, secure=_secure(model, spec, item, observed))
        if item.admitted:
            if spec.serving.parallelism == "Site":
                wanted.append(build_peer_service(model, item.health.name))
            wanted += [item.desired, service]
            continue
        name = item.desired["metadata"]["name"]
        present = observed.of_kind("Deployment").get(name)
        if present is not None:
            wanted.append(service)
            if present["spec"].get("replicas", 1) != item.scaling.replicas:
                scales.append(Scale(name, item.scaling.replicas))
    return _Actions(
        apply=tuple(obj for obj in wanted if differs(obj, observed.present(obj))),
        scale=tuple(scales),
        delete=tuple(_superfluous(model, spec, task, compression, sites, observed, settings)),
    )


def _secure(model: EdgeModel, spec: Spec, item: SitePlan, observed: Observed) -> bool:
    """Whether users reach the site over TLS: as before, until all its servers do what is desired."""
    present = observed.of_kind("Service").get(deployment_name(model, item.health.name))
    if present is None or (item.updated and item.health.settled_at is not None):
        return wants_tls(spec)
    return is_secure(present)


def _asks_peers(model: EdgeModel, spec: Spec, item: SitePlan, observed: Observed) -> bool:
    """Whether replicas of the site look for each other: those of the version before may still do."""
    if spec.serving.parallelism == "Site":
        return True
    return not item.updated and peer_service_name(model.metadata.name, item.health.name) in observed.of_kind("Service")


def _superfluous(
    model: EdgeModel,
    spec: Spec,
    task: Task,
    compression: Compression | None,
    sites: list[SitePlan],
    observed: Observed,
    settings: Settings,
) -> list[Ref]:
    """Children that nothing asks for any more. Where no node matches at all, what serves is left: that is rather
    a slip in a label than a wish to serve nobody.
    """
    found: list[Ref] = []
    if sites:
        missing = missing_sites(spec.placement, [item.health.site for item in sites])
        keep = {deployment_name(model, name) for name in (*(item.health.name for item in sites), *missing)}
        found += [Ref("Deployment", name) for name in observed.of_kind("Deployment") if name not in keep]
        keep |= {
            peer_service_name(model.metadata.name, item.health.name)
            for item in sites
            if _asks_peers(model, spec, item, observed)
        }
        keep |= {peer_service_name(model.metadata.name, name) for name in missing}
        found += [Ref("Service", name) for name in observed.of_kind("Service") if name not in keep]
    if not settings.network_policies:
        found += [Ref("NetworkPolicy", name) for name in observed.of_kind("NetworkPolicy")]
    attempts = [
        attempt_of(job)
        for job in observed.of_kind("Job").values()
        if job["metadata"]["labels"].get(TASK_LABEL) == task.tag
    ]
    newest = max(attempts, default=0)
    if isinstance(compression, Running) and compression.job is None:
        newest = compression.attempt
    for name, job in observed.of_kind("Job").items():
        if job["metadata"]["labels"].get(TASK_LABEL) != task.tag or attempt_of(job) != newest:
            found.append(Ref("Job", name))
    found += [
        Ref("ConfigMap", name)
        for name, item in observed.of_kind("ConfigMap").items()
        if item["metadata"]["labels"].get(TASK_LABEL) != task.tag
    ]
    return found


def _finish(model: EdgeModel, status: Status, findings: list[Finding], now: datetime) -> Plan:
    conditions = merge(model.status.conditions, findings, model.metadata.generation, now)
    full = msgspec.structs.replace(status, conditions=conditions, observed_generation=model.metadata.generation)
    return Plan(status=full, transitions=tuple(transitions(model.status.conditions, conditions)))
