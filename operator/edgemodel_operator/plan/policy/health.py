"""How one site is doing, from its Deployment and its pods."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgemodel_operator.api import SiteState, reasons
from edgemodel_operator.observed import Deployment, Pod
from edgemodel_operator.plan.policy.admission import refused_pods
from edgemodel_operator.plan.policy.mounts import MOUNT_FAILED, absent_object
from edgemodel_operator.plan.policy.placement import Site

IMAGE_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
START_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class SiteHealth:
    """State of a site, and when it is not Ready, why. ``settled_at`` as in ``rollout.SiteProgress``."""

    site: Site
    state: SiteState
    reason: str = ""
    message: str = ""
    image: str | None = None
    revision: str | None = None
    replicas: int = 0
    ready: int = 0
    settled_at: datetime | None = None
    capacity_limited: bool = False
    """A replica waits for a node that could take it."""
    deadline_exceeded: bool = False
    """The Deployment gave up waiting for progress."""
    contested: str | None = None
    """As in the status."""

    @property
    def name(self) -> str:
        """Of the site."""
        return self.site.name


def site_health(
    site: Site,
    deployment: Deployment | None,
    pods: Sequence[Pod],
    min_replicas: int | None,
    settled_revision: str | None,
    now: datetime,
) -> SiteHealth:
    """Judge one site. ``pods`` are the site's inference pods. ``min_replicas`` is None where others say how many
    replicas there are, which may be none at all.

    ``settled_revision`` is the pod template that stood here when it was looked at last. Where it is still asked for,
    a change that the Deployment controller has not seen yet is one of replicas, and takes nothing away.
    """
    if deployment is None:
        state: SiteState = "Pending" if site.connected else "Disconnected"
        return SiteHealth(site, state, reasons.WAITING, "Nothing is deployed here yet.")
    wanted, updated, available = deployment.replicas, deployment.updated, deployment.available
    trouble = _trouble(pods) or _not_admitted(deployment)
    # Replicas beyond the minimum that are on their way, or find no room, are scaling; a version stands without them.
    settled = (
        (deployment.current or (settled_revision is not None and settled_revision == deployment.revision))
        and updated == deployment.total
        and available >= (min(wanted, 1) if min_replicas is None else max(1, min(wanted, min_replicas)))
        and (trouble is None or trouble[0] == reasons.INSUFFICIENT_CAPACITY)
    )
    progress = deployment.condition("Progressing")
    settled_at = progress.updated_at if progress is not None and progress.updated_at is not None else now
    facts: dict[str, Any] = {
        "image": deployment.image,
        "revision": deployment.revision,
        "replicas": deployment.total,
        "ready": deployment.ready,
        "capacity_limited": trouble is not None and trouble[0] == reasons.INSUFFICIENT_CAPACITY,
        # Before the controller has seen the last change, its verdict is on the version before.
        "deadline_exceeded": deployment.current
        and progress is not None
        and progress.reason == reasons.PROGRESS_DEADLINE_EXCEEDED,
    }
    if not site.connected:
        return SiteHealth(
            site,
            "Disconnected",
            reasons.DISCONNECTED,
            "The site's nodes do not report; what runs there keeps serving and is left alone.",
            settled_at=settled_at if settled else None,
            **facts,
        )
    if settled:
        return SiteHealth(site, "Ready", settled_at=settled_at, **facts)
    if deployment.paused and updated < max(1, deployment.total):
        name = deployment.name
        return SiteHealth(
            site,
            "Degraded",
            reasons.DEPLOYMENT_PAUSED,
            f"Somebody has paused Deployment {name}, so that the new version does not come here; "
            f"kubectl rollout resume deployment/{name} lets it go on.",
            **facts,
        )
    if trouble:
        return SiteHealth(site, "Degraded", *trouble, **facts)
    if facts["deadline_exceeded"]:
        return SiteHealth(
            site,
            "Degraded",
            reasons.PROGRESS_DEADLINE_EXCEEDED,
            f"{min(updated, available)} of {wanted} replicas became available in time; see the events and the log of "
            "the site's pods.",
            **facts,
        )
    return SiteHealth(
        site,
        "Progressing",
        reasons.PROGRESSING,
        f"{min(updated, available)} of {wanted} replicas are updated and available.",
        **facts,
    )


def _not_admitted(deployment: Deployment) -> tuple[str, str] | None:
    refused = refused_pods(deployment)
    if refused is None:
        return None
    reason, words = refused
    return reason, (
        f"A pod is not admitted: {words}. Change the quota or the policy, or spec.serving.resources; Kubernetes tries "
        "again by itself, with growing pauses."
    )


def _trouble(pods: Sequence[Pod]) -> tuple[str, str] | None:
    """Reason and sentence of the first pod that needs a person."""
    for pod in pods:
        if pod.deleting or pod.ready:
            continue
        if pod.unschedulable is not None and "persistentvolumeclaim" in pod.unschedulable.lower():
            return (
                reasons.CANNOT_START,
                f"Pod {pod.name} waits for a volume: {pod.unschedulable} Create the claim in the EdgeModel's "
                "namespace, or correct spec.serving.podTemplate.extraVolumes.",
            )
        if pod.unschedulable is not None:
            return (
                reasons.INSUFFICIENT_CAPACITY,
                f"No node at the site has room for pod {pod.name}: {pod.unschedulable} Lower spec.serving.resources "
                "or the replicas, add a node, or correct spec.serving.podTemplate.",
            )
        if pod.waiting_reason in IMAGE_PULL_REASONS:
            return (
                reasons.IMAGE_PULL_FAILED,
                f"The image cannot be pulled for pod {pod.name}: {pod.waiting_message} Check the site's connection to "
                "the registry and the pull secret.",
            )
        if pod.waiting_reason == MOUNT_FAILED:
            absent = absent_object(pod.waiting_message)
            if absent is None:
                return reasons.CANNOT_START, f"Pod {pod.name} waits for a volume: {pod.waiting_message}"
            return (
                reasons.SECRET_NOT_FOUND,
                f"Pod {pod.name} waits for {absent}: create it in the EdgeModel's namespace, or correct "
                "spec.serving.tls, auth or podTemplate.extraVolumes.",
            )
        if pod.waiting_reason in START_REASONS:
            return reasons.CANNOT_START, f"Pod {pod.name} cannot start: {pod.waiting_message}"
        if pod.waiting_reason == "CrashLoopBackOff" or (pod.restarts > 0 and pod.exit_code not in (None, 0)):
            if pod.exit_reason == "OOMKilled":
                return (
                    reasons.SERVER_OUT_OF_MEMORY,
                    f"The server in pod {pod.name} ran out of memory; raise spec.serving.resources.limits.memory.",
                )
            last = pod.termination_message.strip().splitlines()[-1:] or [f"see the log of pod {pod.name}"]
            return (
                reasons.SERVER_CRASHING,
                f"The server in pod {pod.name} ended with exit code {pod.exit_code}: {last[0][:300]}",
            )
    return None
