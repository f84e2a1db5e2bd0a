"""The status conditions: their types, how they meet kstatus, and when a transition happened.

kstatus (sigs.k8s.io/cli-utils) reads ``Ready``, ``Reconciling`` and ``Stalled`` with ``observedGeneration``; Flux, Argo
CD and ``kubectl wait`` understand them the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from edgemodel_operator.api import Condition, ConditionStatus
from edgemodel_operator.api.reasons import is_warning
from edgemodel_operator.observed import timestamp

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
COMPRESSED = "Compressed"
AVAILABLE = "Available"
PROGRESSING = "Progressing"
SCALING_ACTIVE = "ScalingActive"

TYPES = (READY, RECONCILING, STALLED, COMPRESSED, AVAILABLE, PROGRESSING, SCALING_ACTIVE)

MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Finding:
    """What is to be said about one condition type."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True)
class Transition:
    """A condition whose status or reason changed: worth an event."""

    condition: Condition
    warning: bool


def merge(before: Sequence[Condition], findings: Sequence[Finding], generation: int, now: datetime) -> list[Condition]:
    """The new conditions, in the order of ``TYPES``. ``lastTransitionTime`` moves only when the status does."""
    known = {condition.type: condition for condition in before}
    result = []
    for finding in sorted(findings, key=lambda item: TYPES.index(item.type)):
        old = known.get(finding.type)
        unchanged = old is not None and old.status == finding.status
        result.append(
            Condition(
                type=finding.type,
                status=finding.status,
                reason=finding.reason,
                message=_cut(finding.message),
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and unchanged else timestamp(now),
            )
        )
    return result


def transitions(before: Sequence[Condition], after: Sequence[Condition]) -> list[Transition]:
    """Every condition whose status or reason changed. A reason that several conditions took at once is told once, and
    the first look at an EdgeModel to which nothing has happened yet tells nothing.
    """
    known = {condition.type: (condition.status, condition.reason) for condition in before}
    found: dict[str, Transition] = {}
    for condition in after:
        warning = is_warning(condition.status, condition.reason)
        if known.get(condition.type) == (condition.status, condition.reason) or (not before and not warning):
            continue
        found.setdefault(condition.reason, Transition(condition, warning))
    return list(found.values())


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
