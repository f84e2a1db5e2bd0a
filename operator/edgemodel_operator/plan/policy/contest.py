"""Fields that others change, too: an autoscaler, another manager, an admission policy of the cluster.

Two that correct each other never come to rest, and each correction may restart servers. So the operator rests where the
API server's answer is what stands there already, and yields to whoever undoes its corrections again and again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edgemodel_contract.encoding import digest
from edgemodel_operator.api import reasons
from edgemodel_operator.observed import Difference, Replicas
from edgemodel_operator.plan.policy.scaling import Decision, Limits

TIMES = 3
"""So many changes by somebody else within ``WINDOW`` are no slip."""
WINDOW = timedelta(minutes=10)


def seen(before: Replicas, found: int | None, now: datetime) -> Replicas:
    """After a look at a site's Deployment. ``found`` is None where there is none."""
    if found is None:
        return Replicas()
    recent = tuple(at for at in before.changed if now - at <= WINDOW)
    if before.asked is not None and found != before.asked:
        recent = (*recent, now)[-TIMES:]
    return Replicas(found, recent)


def is_contested(replicas: Replicas) -> bool:
    """Whether somebody else keeps changing them."""
    return len(replicas.changed) >= TIMES


def scaling_digest(bounds: Limits) -> str:
    """Of what a site's replicas are to be: once they are left to others, they are until this changes."""
    return digest([bounds.minimum, bounds.maximum, bounds.target, bounds.percentile])[:16]


def left_to_others(found: int | None, *, external: bool, contested: bool) -> Decision | None:
    """The decision not to decide how many replicas a site has; None where the operator does."""
    if external:
        return Decision(found or 0, reasons.EXTERNAL, "The replicas are left to an autoscaler.")
    if contested:
        return Decision(found or 0, reasons.REPLICAS_CONTESTED, "The replicas are left to who keeps changing them.")
    return None


@dataclass(frozen=True)
class Correction:
    """What a child was corrected to, what the API server made of it, and when that was done."""

    desired: str
    """Digest of what was applied."""
    answer: tuple[Difference, ...]
    """What was different all the same right afterwards: something in the API server puts it there."""
    times: tuple[datetime, ...] = ()

    @property
    def contested(self) -> bool:
        """Somebody undoes it again and again."""
        return len(self.times) >= TIMES


def is_needed(last: Correction | None, desired: str, found: tuple[Difference, ...]) -> bool:
    """Whether to apply ``desired`` (a digest) to a child that differs from it by ``found``."""
    if last is None or last.desired != desired:
        return True
    return found != last.answer and not last.contested


def corrected(last: Correction | None, desired: str, answer: tuple[Difference, ...], now: datetime) -> Correction:
    """What to remember after an apply. The first one of something new corrects nobody."""
    if last is None or last.desired != desired:
        return Correction(desired, answer)
    recent = tuple(at for at in last.times if now - at <= WINDOW)
    return replace(last, answer=answer, times=(*recent, now))


def is_over(last: Correction, now: datetime) -> bool:
    """Whether a child that does not differ any more has been left in peace for long."""
    return bool(last.times) and now - last.times[-1] > WINDOW


def describe(found: tuple[Difference, ...]) -> str:
    """The fields, for a message; a few of them."""
    paths = [path for path, _ in found]
    return ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")
