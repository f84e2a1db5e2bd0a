"""How many replicas a site should have, from the latency its users feel.

The seam for a richer autoscaler: ``scale`` sees limits, target, figures and its own earlier recommendations, and
answers with a number and the reason for it.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgemodel_contract.quantity import format_duration
from edgemodel_operator.api import Scaling, Spec, reasons
from edgemodel_operator.observed import Recommendation, SiteLatency

TOLERANCE = 0.1
"""As in the HorizontalPodAutoscaler: a ratio this close to 1 changes nothing."""
LARGEST_STEP = 2.0
"""At most this factor at once: latency under overload says that there is too little, not how much."""
COMFORT = 0.5
"""Below this share of the target there is a replica to spare."""


@dataclass(frozen=True)
class Limits:
    """What one site may do, after its overrides. ``target`` is seconds, None without a target."""

    minimum: int
    maximum: int
    target: float | None
    percentile: int
    up_window: timedelta
    down_window: timedelta


@dataclass(frozen=True)
class Decision:
    """``replicas`` to ask for. ``history`` is to be given back the next time."""

    replicas: int
    reason: str
    message: str
    history: tuple[Recommendation, ...] = ()

    @property
    def is_left(self) -> bool:
        """The replicas are what others make of them: they are not part of what is applied."""
        return self.reason in (reasons.EXTERNAL, reasons.REPLICAS_CONTESTED)


def limits(spec: Spec, site: str) -> Limits:
    """``spec.scaling`` with the overrides of ``site``."""
    scaling: Scaling = spec.scaling
    minimum, maximum, target = scaling.min_replicas, scaling.max_replicas, scaling.target
    for override in spec.placement.overrides:
        if override.site == site and override.scaling is not None:
            own = override.scaling
            minimum = own.min_replicas if own.min_replicas is not None else minimum
            maximum = own.max_replicas if own.max_replicas is not None else maximum
            target = own.target if own.target is not None else target
    return Limits(
        minimum=minimum,
        maximum=max(minimum, maximum if maximum is not None else minimum),
        target=target.latency if target is not None else None,
        percentile=target.percentile if target is not None else 95,
        up_window=timedelta(seconds=scaling.behavior.scale_up.stabilization_window_seconds),
        down_window=timedelta(seconds=scaling.behavior.scale_down.stabilization_window_seconds),
    )


def scale(
    bounds: Limits,
    current: int | None,
    latency: SiteLatency | None,
    history: tuple[Recommendation, ...],
    capacity_limited: bool,
    stale_after: timedelta,
    now: datetime,
) -> Decision:
    """Decide for one site. ``current`` is what its Deployment asks for, None before there is one.

    Up: as much as the latency is above the target, once the replicas asked for before are there. Down: one replica
    at a time below half the target, and to the minimum without requests, but only after the whole window recommended
    so. Without fresh figures: hold.
    """
    if current is None:
        return Decision(bounds.minimum, reasons.STARTING, "Starts with the minimum.")
    held = min(max(current, bounds.minimum), bounds.maximum)
    if bounds.target is None or bounds.minimum == bounds.maximum:
        return Decision(held if bounds.target else bounds.minimum, reasons.FIXED, "The number of replicas is fixed.")
    if latency is None or now - latency.at > stale_after:
        return Decision(held, reasons.NO_METRICS, "No fresh latency figures; the replicas are held.", history)
    longest = max(bounds.up_window, bounds.down_window)
    recent = tuple(item for item in history if now - item.at <= longest + stale_after)
    # Each measurement is answered once: what was added for it has not changed the figure yet.
    if not recent or recent[-1].at < latency.at:
        recent = (*recent, Recommendation(latency.at, _recommend(bounds, held, latency)))
    wanted = recent[-1].replicas
    replicas = min(max(_stabilize(bounds, held, recent, now), bounds.minimum), bounds.maximum)
    figure = "no requests" if latency.seconds is None else f"p{bounds.percentile} {format_duration(latency.seconds)}"
    against = f"{figure} against a target of {format_duration(bounds.target)}"
    if replicas > held:
        if capacity_limited:
            return Decision(
                held, reasons.CAPACITY_LIMITED, f"{against}, but the site has no room for more replicas.", recent
            )
        if latency.servers < held:
            return Decision(held, reasons.SCALING_UP, f"{against}; {held} replicas are on their way.", recent)
        return Decision(replicas, reasons.SCALING_UP, f"{against}: from {held} to {replicas} replicas.", recent)
    if replicas < held:
        return Decision(replicas, reasons.SCALING_DOWN, f"{against}: from {held} to {replicas} replicas.", recent)
    if wanted > held or (held == bounds.maximum and _ratio(bounds, latency) > 1 + TOLERANCE):
        return Decision(held, reasons.AT_MAXIMUM, f"{against} at the maximum of {held} replicas.", recent)
    return Decision(held, reasons.ON_TARGET, f"{against}.", recent)


def _ratio(bounds: Limits, latency: SiteLatency) -> float:
    return (latency.seconds or 0.0) / (bounds.target or 1.0)


def _recommend(bounds: Limits, current: int, latency: SiteLatency) -> int:
    if latency.seconds is None:
        return bounds.minimum
    ratio = _ratio(bounds, latency)
    if ratio > 1 + TOLERANCE:
        return min(bounds.maximum, math.ceil(current * min(ratio, LARGEST_STEP)))
    if ratio < COMFORT:
        return max(bounds.minimum, current - 1)
    return current


def _stabilize(bounds: Limits, current: int, recent: tuple[Recommendation, ...], now: datetime) -> int:
    """The lowest recommendation of the up window if that is more than now, the highest of the down window if less."""
    up = [item.replicas for item in recent if now - item.at <= bounds.up_window] or [recent[-1].replicas]
    if min(up) > current:
        return min(up)
    down = [item.replicas for item in recent if now - item.at <= bounds.down_window] or [recent[-1].replicas]
    # Figures that do not reach back over the whole window, after a restart for instance, say nothing about it.
    if now - recent[0].at >= bounds.down_window and max(down) < current:
        return max(down)
    return current
