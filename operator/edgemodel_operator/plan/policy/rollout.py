"""Which sites may have the new version now: wave by wave, the next one only when the last one stands, and none any more
when too many sites have failed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import accumulate

from edgemodel_operator.api import Rollout, RolloutState


@dataclass(frozen=True)
class SiteProgress:
    """How far one site is."""

    name: str
    updated: bool
    """Its Deployment asks for the new version already."""
    settled_at: datetime | None
    """Since when every replica runs the new version and is available; None before."""
    connected: bool = True
    failed: bool = False
    """It has not made progress with the new version for as long as ``progressDeadline`` says."""


@dataclass(frozen=True)
class Admission:
    """``sites`` may run the new version. ``wave`` counts from 1 to ``of``; both are 0 where there is no site.

    ``updated`` sites of ``total`` are asked for it already; ``is_out``: so are all within reach. ``soak_until`` is when
    a soak ends, if one is what holds the rest back. ``allowed`` sites may be among the ``failed`` before the rollout
    stops.
    """

    sites: frozenset[str]
    state: RolloutState
    wave: int
    of: int
    updated: int
    total: int
    is_out: bool
    failed: tuple[str, ...] = ()
    allowed: int = 0
    soak_until: datetime | None = None


def admit(sites: Sequence[SiteProgress], rollout: Rollout, now: datetime) -> Admission:
    """The sites that may be updated.

    Waves are cumulative: a number of sites, or a share of all of them as ``"25%"``, rounded up. Sites that are updated
    already come first, so a wave is never undone. Sites without a link are neither updated nor waited for. A site that
    failed is not waited for, either, while no more have failed than may.
    """
    soak = timedelta(seconds=rollout.soak)
    limits = wave_sizes(rollout.waves, len(sites))
    updated = [site for site in sites if site.updated]
    reachable = [site for site in sites if site.connected and not site.updated]
    failed = tuple(site.name for site in updated if site.connected and site.failed and site.settled_at is None)
    allowed = failure_budget(rollout.max_failed_sites, len(sites))
    order = updated + reachable

    def admission(count: int, state: RolloutState, soak_until: datetime | None = None) -> Admission:
        return Admission(
            frozenset(site.name for site in order[:count]),
            state,
            wave=next((wave for wave, limit in enumerate(limits, 1) if limit >= count), 0),
            of=len(limits),
            updated=len(updated),
            total=len(sites),
            is_out=not reachable,
            failed=failed,
            allowed=allowed,
            soak_until=soak_until,
        )

    if reachable and rollout.paused:
        return admission(len(updated), "Paused")
    if len(failed) > allowed:
        return admission(len(updated), "Stopped")
    for limit in limits:
        inside = order[: max(limit, len(updated))]
        if any(site.connected and site.settled_at is None and site.name not in failed for site in inside):
            return admission(len(inside), "Progressing")
        # A wave of which nothing stands, for all have failed or are cut off, has nothing that could soak.
        settled = max((site.settled_at for site in inside if site.settled_at), default=None)
        if settled is not None and settled + soak > now and len(inside) < len(order):
            return admission(len(inside), "Soaking", settled + soak)
    return admission(len(order), "Complete")


def wave_sizes(waves: Sequence[int | str], total: int) -> list[int]:
    """Sites that have the new version after each wave: at least one, a share rounded up. The last wave has all of
    ``total``, whether ``waves`` say so or not, and none has fewer than the one before; without sites there is no wave.
    """
    if not total:
        return []
    sizes = [min(wave if isinstance(wave, int) else max(1, math.ceil(_part(wave, total))), total) for wave in waves]
    return list(accumulate(sizes if sizes[-1:] == [total] else [*sizes, total], max))


def failure_budget(most: int | str, total: int) -> int:
    """Sites that may fail: a number, or a share of ``total``, rounded down."""
    return most if isinstance(most, int) else math.floor(_part(most, total))


def _part(share: str, total: int) -> Fraction:
    return Fraction(int(share.rstrip("%")) * total, 100)
