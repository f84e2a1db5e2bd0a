"""The whole operator as one pure function: ``plan(model, observed, settings, now) -> Plan``.

No I/O, no clock, no client. The same state gives the same plan, so any step may be killed and planned again.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from edgemodel_operator.api import EdgeModel, Status, reasons
from edgemodel_operator.api.labels import SITE_LABEL
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.job import build_job
from edgemodel_operator.manifests.owned import applied_hash
from edgemodel_operator.observed import Node, Object, Observed, Pod, Recommendation, Replicas
from edgemodel_operator.plan.children import Ref, Scale, child_changes
from edgemodel_operator.plan.context import Context
from edgemodel_operator.plan.policy.compression import Compression, Done, Failed, Running, decide
from edgemodel_operator.plan.policy.exposure import addresses, doubled_ports, port_refusals
from edgemodel_operator.plan.policy.health import SiteHealth
from edgemodel_operator.plan.policy.mounts import PATIENCE, is_being_created
from edgemodel_operator.plan.policy.placement import find_sites, missing_sites, off_edge, site_of
from edgemodel_operator.plan.policy.task import desired_task
from edgemodel_operator.plan.policy.validation import find_problem
from edgemodel_operator.plan.sites import plan_sites, sites_left_alone
from edgemodel_operator.plan.status import verdict
from edgemodel_operator.plan.status.conditions import Finding, Transition, merge, transitions
from edgemodel_operator.plan.status.figures import compression_status, model_status, site_statuses, summary
from edgemodel_operator.plan.status.rollout import rollout_status
from edgemodel_operator.settings import Settings

WATCH_PROGRESS = timedelta(seconds=3)
"""How often the log of a running Job is read."""


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
    replicas: Mapping[str, Replicas] = field(default_factory=dict)
    """To be given back the next time, by site, once it has been carried out."""


def plan(model: EdgeModel, observed: Observed, settings: Settings, now: datetime) -> Plan:
    """Decide everything about one EdgeModel."""
    problem = find_problem(model)
    if model.spec is None or problem is not None:
        reason, message = (problem.reason, problem.message) if problem else (reasons.INVALID_SPEC, "")
        return _finish(model, model.status, verdict.invalid_spec_conditions(model, reason, message), now)
    spec = model.spec
    task = desired_task(model, spec, settings)
    context = Context(model, spec, task, observed, settings, now)
    compression = _compression(context)
    version = model_status(model.status.model, compression.result) if isinstance(compression, Done) else None
    served = version if version is not None else model.status.model

    all_sites = find_sites(spec.placement, observed.nodes)
    sites, rollout = plan_sites(context, all_sites, served)
    measured = model.status.compression if compression is None else compression_status(model, task.digest, compression)
    healths = [item.health for item in sites] + sites_left_alone(context, all_sites)
    ready_sites = sum(site.state == "Ready" for site in healths)
    status = Status(
        observed_generation=model.metadata.generation,
        model=served,
        compression=measured,
        rollout=rollout_status(model.status.rollout, served.image if served else None, rollout, now),
        sites=site_statuses(model, healths, _reached(context, healths), observed.latency, context.staleness, now),
        summary=summary(measured, ready_sites, len(healths)),
        ready_sites=ready_sites,
        total_sites=len(healths),
        replicas=sum(site.replicas for site in healths),
        ready_replicas=sum(site.ready for site in healths),
    )
    findings = verdict.all_conditions(
        verdict.Facts(
            spec=spec,
            compression=compression,
            measured=measured,
            image=served.image if served is not None else None,
            sites=healths,
            rollout=rollout,
            matched=bool(all_sites),
            scaling={item.health.name: item.scaling for item in sites},
            missing=missing_sites(spec.placement, all_sites),
            refusals=port_refusals(
                {item.health.name: deployment_name(model, item.health.name) for item in sites},
                doubled_ports(spec, [item.health.name for item in sites]),
            )
            | dict(observed.refusals),
        )
    )
    if spec.suspend:
        return _finish(model, status, findings, now)
    changes = child_changes(context, compression, sites)
    waits = [rollout.soak_until - now] if rollout.soak_until else []
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
        apply=changes.apply,
        scale=changes.scale,
        delete=changes.delete,
        requeue_after=max(min(waits), timedelta(seconds=0.1)) if waits else None,
        recommendations={item.health.name: item.scaling.history for item in sites},
        replicas={item.health.name: item.replicas_asked for item in sites},
    )


def _compression(context: Context) -> Compression | None:
    """None: the version in the status is that of the task, nothing is left to do."""
    model, task, observed = context.model, context.task, context.observed
    if model.status.model is not None and model.status.model.task == task.digest:
        return None
    found = decide(task, observed.jobs, observed.pods, observed.progress, context.now, observed.refused_pods)
    if isinstance(found, Running | Failed) and found.job is not None:
        # Nodes that come and go are no reason to lose the work of a Job that has a node.
        choices = {off_edge(observed.nodes)} if found.reason == reasons.JOB_UNSCHEDULABLE else {True, False}
        intended = [build_job(model, context.spec, task, found.attempt, choice, context.settings) for choice in choices]
        if observed.jobs[found.job].applied_hash not in map(applied_hash, intended):
            # More memory or another node, say: what the Job runs with is not part of the task, and Jobs are immutable.
            return Running(found.attempt + 1, job=None, message="The Job's settings have changed; it starts over.")
    return found


def _reached(context: Context, sites: list[SiteHealth]) -> dict[str, tuple[str, ...]]:
    """The addresses of each site."""
    observed, services = context.observed, context.observed.services
    nodes: dict[str | None, list[Node]] = defaultdict(list)
    for node in observed.nodes:
        nodes[site_of(context.spec.placement, node)].append(node)
    pods: dict[str, list[Pod]] = defaultdict(list)
    for pod in observed.pods:
        pods[pod.labels.get(SITE_LABEL, "")].append(pod)
    namespace = context.model.metadata.namespace
    return {
        site.name: addresses(
            services.get(deployment_name(context.model, site.name)), namespace, nodes[site.name], pods[site.name]
        )
        for site in sites
    }


def _finish(model: EdgeModel, status: Status, findings: list[Finding], now: datetime) -> Plan:
    conditions = merge(model.status.conditions, findings, model.metadata.generation, now)
    full = msgspec.structs.replace(status, conditions=conditions, observed_generation=model.metadata.generation)
    return Plan(status=full, transitions=tuple(transitions(model.status.conditions, conditions)))
