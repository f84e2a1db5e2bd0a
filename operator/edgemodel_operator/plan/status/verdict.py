"""The truth in conditions: one reason and one sentence per condition type, from everything that was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemodel_operator.api import CompressionStatus, EdgeModel, Spec, reasons
from edgemodel_operator.observed import Refusal, timestamp
from edgemodel_operator.plan.policy.compression import Compression, Failed, Running
from edgemodel_operator.plan.policy.health import SiteHealth
from edgemodel_operator.plan.policy.rollout import Admission
from edgemodel_operator.plan.policy.scaling import Decision
from edgemodel_operator.plan.status.conditions import (
    AVAILABLE,
    COMPRESSED,
    PROGRESSING,
    READY,
    RECONCILING,
    SCALING_ACTIVE,
    STALLED,
    Finding,
)
from edgemodel_operator.plan.status.figures import describe_result


@dataclass(frozen=True)
class Facts:
    """What the verdict rests on."""

    spec: Spec
    compression: Compression | None
    """None: done before."""
    measured: CompressionStatus | None
    image: str | None
    """The version that sites serve, or are to serve."""
    sites: Sequence[SiteHealth]
    """Those that the spec asks for, and behind them those that nothing asks for any more and that are left alone."""
    matched: bool
    """Some node matches the spec."""
    rollout: Admission
    scaling: Mapping[str, Decision]
    missing: Sequence[str]
    refusals: Mapping[str, Refusal]


@dataclass(frozen=True)
class _Obstacle:
    reason: str
    message: str
    stalled: bool


def invalid_spec_conditions(model: EdgeModel, reason: str, message: str) -> list[Finding]:
    """For a spec that cannot be carried out: nothing is touched, and the conditions that still hold are kept."""
    kept = [
        Finding(item.type, item.status, item.reason, item.message)
        for item in model.status.conditions
        if item.type in (COMPRESSED, AVAILABLE, SCALING_ACTIVE)
    ]
    serving = any(site.ready_replicas for site in model.status.sites)
    text = f"{message} The version before keeps serving." if serving else message
    return [
        Finding(READY, "False", reason, text),
        Finding(RECONCILING, "False", reason, text),
        Finding(STALLED, "True", reason, text),
        Finding(PROGRESSING, "False", reason, text),
        *kept,
    ]


def all_conditions(facts: Facts) -> list[Finding]:
    """All conditions of a spec that is being carried out."""
    obstacle = _obstacle(facts)
    findings = [_compressed(facts), _available(facts), _progressing(facts), _scaling(facts)]
    if obstacle is None:
        sentence = _all_is_well(facts)
        return [
            Finding(READY, "True", reasons.READY, sentence),
            Finding(RECONCILING, "False", reasons.READY, sentence),
            Finding(STALLED, "False", reasons.READY, sentence),
            *findings,
        ]
    message = obstacle.message
    if facts.image and isinstance(facts.compression, Failed | Running) and any(site.ready for site in facts.sites):
        message = f"{message} The version before keeps serving."
    if facts.spec.suspend:
        message = f"Suspended; set spec.suspend to false to go on. {message}"
        obstacle = _Obstacle(reasons.SUSPENDED, message, stalled=False)
    moving = not (obstacle.stalled or facts.spec.suspend or obstacle.reason == reasons.ROLLOUT_PAUSED)
    return [
        Finding(READY, "False", obstacle.reason, message),
        Finding(RECONCILING, "True" if moving else "False", obstacle.reason, message),
        Finding(STALLED, "True" if obstacle.stalled else "False", obstacle.reason, message),
        *findings,
    ]


def _obstacle(facts: Facts) -> _Obstacle | None:
    """What stands between now and Ready, the first in the order in which a person would mend it."""
    for name, refusal in sorted(facts.refusals.items()):
        if refusal.reason == reasons.CHILD_CONTESTED:
            text = (
                f"Another manager keeps changing {name} ({refusal.message}); it is left as it is. Take these fields "
                "out of the other manager's configuration."
            )
        elif refusal.reason == reasons.NAME_CONFLICT:
            text = (
                f"{name} belongs to somebody else: {refusal.message} Rename the EdgeModel, or remove the other object."
            )
        elif refusal.reason == reasons.NODE_PORT_CONFLICT:
            text = (
                f"{name} is left as it is: {refusal.message} Choose a free node port for each site in "
                "spec.placement.overrides[].serving.expose, or leave it out and Kubernetes chooses one."
            )
        else:
            text = (
                f"The API server rejects {name}: {refusal.message} Correct the spec, or the quota or policy it names."
            )
        return _Obstacle(refusal.reason, text, stalled=True)
    match facts.compression:
        case Failed(reason=reason, message=message, retry_at=retry_at):
            again = f" Next attempt at {timestamp(retry_at)}." if retry_at else ""
            return _Obstacle(reason, f"{message}{again}", stalled=retry_at is None or _needs_a_person(reason))
        case Running(reason=reason) as running:
            return _Obstacle(reason, _how_far(facts, running), stalled=_needs_a_person(reason))
    if not facts.matched:
        wanted = ", ".join(f"{key}={value}" for key, value in facts.spec.placement.node_selector.items())
        return _Obstacle(
            reasons.NO_MATCHING_NODES,
            f"No node matches spec.placement (labels {wanted}): label the edge nodes, or correct the selector.",
            stalled=True,
        )
    if facts.missing:
        return _Obstacle(
            reasons.SITES_MISSING,
            f"No matching node is in site {', '.join(facts.missing)}; label its nodes with "
            f"{facts.spec.placement.site_label}, or remove it from spec.placement.sites.",
            stalled=True,
        )
    return _site_obstacle(facts)


def _needs_a_person(reason: str) -> bool:
    return reason in reasons.NOT_READY and reasons.NOT_READY[reason].stalls is reasons.Stalls.YES


def _site_obstacle(facts: Facts) -> _Obstacle | None:
    for site in facts.sites:
        if site.state == "Degraded":
            still = f" {site.ready} of its replicas serve meanwhile." if site.ready else ""
            stalled = site.deadline_exceeded or _needs_a_person(site.reason)
            return _Obstacle(site.reason, f"Site {site.name}: {site.message}{still}{_stop(facts)}", stalled)
    if stopped := _stop(facts):
        return _Obstacle(reasons.ROLLOUT_STOPPED, stopped.strip(), stalled=True)
    pending = [site for site in facts.sites if site.state in ("Pending", "Progressing")]
    if pending:
        names = ", ".join(site.name for site in pending[:5]) + (" …" if len(pending) > 5 else "")
        if facts.spec.rollout.paused:
            return _Obstacle(
                reasons.ROLLOUT_PAUSED,
                f"{len(pending)} of {len(facts.sites)} sites wait ({names}); set spec.rollout.paused to false.",
                stalled=False,
            )
        return _Obstacle(
            reasons.ROLLING_OUT,
            f"{len(facts.sites) - len(pending)} of {len(facts.sites)} sites have the new version; next: {names}.",
            stalled=False,
        )
    behind = [site.name for site in facts.sites if site.state == "Disconnected" and site.image != facts.image]
    if behind:
        return _Obstacle(
            reasons.SITES_DISCONNECTED,
            f"Cut off and still on another version: {', '.join(behind)}. Each is updated when its nodes report again.",
            stalled=False,
        )
    return None


def _stop(facts: Facts) -> str:
    """That too many sites have failed, as a further sentence; empty where they have not."""
    rollout = facts.rollout
    waiting = [site for site in facts.sites if site.reason == reasons.ROLLOUT_STOPPED]
    if not waiting:
        return ""
    names = ", ".join(rollout.failed[:5]) + (" …" if len(rollout.failed) > 5 else "")
    return (
        f" The rollout has stopped, {len(waiting)} sites wait: {len(rollout.failed)} failed ({names}), and "
        f"spec.rollout.maxFailedSites allows {rollout.allowed}."
    )


def _all_is_well(facts: Facts) -> str:
    cut = [site.name for site in facts.sites if site.state == "Disconnected"]
    text = f"{len(facts.sites) - len(cut)} of {len(facts.sites)} sites serve {facts.image}."
    if cut:
        text += f" Cut off, serving on their own: {', '.join(cut)}."
    return text


def _compressed(facts: Facts) -> Finding:
    match facts.compression:
        case Failed(reason=reason, message=message):
            return Finding(COMPRESSED, "False", reason, message)
        case Running(reason=reason) as running:
            return Finding(COMPRESSED, "False", reason, _how_far(facts, running))
    sentence = describe_result(facts.measured)
    return Finding(COMPRESSED, "True", reasons.COMPRESSED, sentence)


def _how_far(facts: Facts, running: Running) -> str:
    """The progress as the status has it, which is renewed less often than the Job's log."""
    if running.reason != reasons.COMPRESSING or facts.measured is None or facts.measured.progress is None:
        return running.message
    return f"{facts.measured.progress.step}: {facts.measured.progress.message}"


def _available(facts: Facts) -> Finding:
    if not facts.sites or facts.image is None:
        return Finding(AVAILABLE, "False", reasons.NOT_DEPLOYED, "No site serves yet.")
    if all(site.state == "Disconnected" for site in facts.sites):
        return Finding(
            AVAILABLE, "Unknown", reasons.DISCONNECTED, "No site is reachable; what runs there keeps serving."
        )
    without = [site.name for site in facts.sites if not site.ready and site.state != "Disconnected"]
    serving = [site for site in facts.sites if site.ready]
    if without and all(site.state in ("Pending", "Progressing") for site in facts.sites if site.name in without):
        names = ", ".join(without[:10])
        return Finding(AVAILABLE, "False", reasons.STARTING, f"No replica is ready yet in site {names}.")
    if without:
        return Finding(
            AVAILABLE, "False", reasons.SITES_UNAVAILABLE, f"No replica is ready in site {', '.join(without[:10])}."
        )
    return Finding(
        AVAILABLE,
        "True",
        reasons.AVAILABLE,
        f"Every reachable site has a ready replica: {len(serving)} of {len(facts.sites)} sites.",
    )


def _progressing(facts: Facts) -> Finding:
    if facts.spec.suspend:
        return Finding(PROGRESSING, "False", reasons.SUSPENDED, "spec.suspend is true.")
    if facts.image is None or not facts.sites:
        return Finding(PROGRESSING, "False", reasons.NOT_DEPLOYED, "There is no version to roll out yet.")
    pending = [site for site in facts.sites if site.state in ("Pending", "Progressing", "Degraded")]
    if not pending:
        return Finding(PROGRESSING, "False", reasons.ROLLED_OUT, f"All reachable sites have {facts.image}.")
    if facts.spec.rollout.paused:
        return Finding(PROGRESSING, "False", reasons.ROLLOUT_PAUSED, "spec.rollout.paused is true.")
    late = next((site for site in pending if site.deadline_exceeded), None)
    if late is not None:
        return Finding(PROGRESSING, "False", late.reason, f"Site {late.name}: {late.message}")
    return Finding(
        PROGRESSING, "True", reasons.ROLLING_OUT, f"{len(pending)} of {len(facts.sites)} sites are under way or wait."
    )


def _scaling(facts: Facts) -> Finding:
    """The site that says most: one at its limit, then one that moves, then one without figures."""
    decisions = sorted(facts.scaling.items())
    if facts.spec.suspend:
        return Finding(SCALING_ACTIVE, "False", reasons.SUSPENDED, "spec.suspend is true.")
    for reason, status in (
        (reasons.REPLICAS_CONTESTED, "False"),
        (reasons.CAPACITY_LIMITED, "True"),
        (reasons.AT_MAXIMUM, "True"),
        (reasons.SCALING_UP, "True"),
        (reasons.SCALING_DOWN, "True"),
        (reasons.ON_TARGET, "True"),
        (reasons.NO_METRICS, "False"),
        (reasons.EXTERNAL, "False"),
    ):
        names = [name for name, decision in decisions if decision.reason == reason]
        if names:
            text = _SCALING_TEXT[reason]
            return Finding(SCALING_ACTIVE, status, reason, f"{text}: {', '.join(names[:10])}.")  # type: ignore[arg-type]
    if facts.spec.scaling.target is None:
        return Finding(
            SCALING_ACTIVE, "False", reasons.NO_TARGET, "spec.scaling.target is not set; replicas stay at minReplicas."
        )
    return Finding(
        SCALING_ACTIVE, "False", reasons.FIXED, "There is no range between minReplicas and maxReplicas to scale in."
    )


_SCALING_TEXT = {
    reasons.REPLICAS_CONTESTED: "Somebody else keeps changing the replicas, which are left to them: set "
    "spec.scaling.managedBy to External, or remove the other autoscaler and change spec.scaling. Sites",
    reasons.EXTERNAL: "An autoscaler says how many replicas there are (spec.scaling.managedBy)",
    reasons.CAPACITY_LIMITED: "Latency asks for more replicas than the site has room for",
    reasons.AT_MAXIMUM: "Latency is above its target at maxReplicas",
    reasons.SCALING_UP: "Latency is above its target; adding replicas",
    reasons.SCALING_DOWN: "Latency leaves replicas to spare; removing one",
    reasons.ON_TARGET: "Latency is within its target",
    reasons.NO_METRICS: "No fresh latency figures; replicas are held",
}
