"""Which sites may have the new version now: wave by wave, the next one only when the last one stands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class SiteProgress:
    """How far one site is."""

    name: str
    updated: bool
    """Its Deployment asks for the new version already."""
    settled_at: datetime | None
    """Since when every replica runs the new version and is available; None before."""
    connected: bool = True


@dataclass(frozen=True)
class Admission:
    """``sites`` may run the new version. ``recheck_at`` is when a soak ends, if one is what holds the rest back."""

    sites: frozenset[str]
    recheck_at: datetime | None = None


def admit(
    sites: Sequence[SiteProgress], waves: Sequence[int | str], soak: timedelta, paused: bool, now: datetime
) -> Admission:
    """The sites that may be updated.

    ``waves`` are cumulative: a number of sites, or a share of all of them as ``"25%"``, rounded up. Sites that are
    updated already come first, so a wave is never undone. Sites without a link are neither updated nor waited for.
    """
    updated = [site for site in sites if site.updated]
    if paused:
        return Admission(frozenset(site.name for site in updated))
    reachable = [site for site in sites if site.connected and not site.updated]
    order = updated + reachable
    for limit in (*(wave_size(wave, len(sites)) for wave in waves), len(sites)):
        inside = order[: max(limit, len(updated))]
        pending = [site for site in inside if site.connected and site.settled_at is None]
        names = frozenset(site.name for site in inside)
        if pending:
            return Admission(names)
        ends = max((site.settled_at for site in inside if site.settled_at), default=now) + soak
        if ends > now and len(inside) < len(order):
            return Admission(names, recheck_at=ends)
    return Admission(frozenset(site.name for site in order))


def wave_size(wave: int | str, total: int) -> int:
    """Sites in a wave: at least one."""
    if isinstance(wave, int):
        return max(1, min(wave, total))
    return max(1, math.ceil(int(wave.rstrip("%")) * total / 100))
