"""Whether a spec can be carried out: rules across fields, and what this version does not do yet.

The rules of the structs are in the schema, too, for servers that know CEL (1.25 and later).
"""

import ipaddress
from dataclasses import dataclass
from itertools import pairwise

from edgemodel_contract.base import broken_rules
from edgemodel_contract.fields import Resources
from edgemodel_contract.quantity import parse_duration, parse_quantity
from edgemodel_contract.spec import threads
from edgemodel_operator.api import EdgeModel, Spec, reasons
from edgemodel_operator.plan.policy.exposure import site_expose


@dataclass(frozen=True)
class Problem:
    """``message`` says which field and what to do."""

    reason: str
    message: str


def find_problem(model: EdgeModel) -> Problem | None:
    """The first thing that stands in the way of carrying out ``model.spec``, or None."""
    if model.spec is None:
        return Problem(
            reasons.INVALID_SPEC, f"The spec cannot be read: {model.spec_error}. Correct it and apply again."
        )
    spec = model.spec
    for path, rule in broken_rules(spec, "spec"):
        return Problem(reasons.INVALID_SPEC, f"{path}: {rule.message}.")
    return (
        _amount_problem(spec)
        or _address_problem(spec)
        or _port_problem(spec)
        or _wave_problem(spec)
        or _time_problem(spec)
    )


def _amount_problem(spec: Spec) -> Problem | None:
    """Amounts that fit the schema's patterns and mean nothing."""
    for override in spec.placement.overrides:
        if override.scaling is None:
            continue
        own = override.scaling
        least = own.min_replicas if own.min_replicas is not None else spec.scaling.min_replicas
        most = own.max_replicas if own.max_replicas is not None else spec.scaling.max_replicas
        if most is not None and most < least:
            return Problem(
                reasons.INVALID_SPEC,
                f"spec.placement.overrides of site {override.site}: with spec.scaling, maxReplicas {most} is below "
                f"minReplicas {least}.",
            )
    places = [
        ("spec.serving.resources", spec.serving.resources),
        ("spec.compression.job.resources", spec.compression.job.resources),
        *(
            (f"spec.placement.overrides of site {override.site}", override.serving.resources)
            for override in spec.placement.overrides
            if override.serving is not None and override.serving.resources is not None
        ),
    ]
    for where, resources in places:
        try:
            threads(resources)
            above = _request_above_limit(resources)
        except ValueError as error:
            return Problem(reasons.INVALID_SPEC, f"{where}: {error}.")
        if above is not None:
            return Problem(reasons.INVALID_SPEC, f"{where}: {above}; raise the limit or lower the request.")
    return None


def _request_above_limit(resources: Resources) -> str | None:
    """Raises ValueError where an amount is no quantity."""
    limits = resources.limits if resources.limits is not None else {}
    for name, request in resources.requests.items():
        if name in limits and parse_quantity(str(request)) > parse_quantity(str(limits[name])):
            return f"requests.{name} {request} is above limits.{name} {limits[name]}"
    return None


def _port_problem(spec: Spec) -> Problem | None:
    """Node ports of single sites that do not go with what is said for all."""
    for override in spec.placement.overrides:
        where = f"spec.placement.overrides of site {override.site}"
        expose = site_expose(spec, override.site)
        if expose.type == "ClusterIP" and (expose.node_port is not None or expose.grpc_node_port is not None):
            return Problem(
                reasons.INVALID_SPEC,
                f"{where}: nodePort and grpcNodePort go with spec.serving.expose.type NodePort or LoadBalancer.",
            )
        if expose.node_port is not None and expose.node_port == expose.grpc_node_port:
            return Problem(
                reasons.INVALID_SPEC,
                f"{where}: with spec.serving.expose, nodePort and grpcNodePort are both {expose.node_port}.",
            )
    return None


def _address_problem(spec: Spec) -> Problem | None:
    for block in spec.serving.allow_from:
        try:
            ipaddress.ip_network(block)
        except ValueError as error:
            return Problem(
                reasons.INVALID_SPEC, f"spec.serving.allowFrom: {error}; write a block such as 10.20.0.0/16."
            )
    return None


def _wave_problem(spec: Spec) -> Problem | None:
    """Numbers and shares are each compared with their like: how they compare with each other depends on the sites."""
    waves = spec.rollout.waves
    numbers = [wave for wave in waves if isinstance(wave, int)]
    shares = [int(wave.rstrip("%")) for wave in waves if isinstance(wave, str)]
    for kind, unit in ((numbers, ""), (shares, "%")):
        for before, after in pairwise(kind):
            if after < before:
                return Problem(
                    reasons.INVALID_SPEC,
                    f"spec.rollout.waves: {after}{unit} follows {before}{unit}; waves count all sites that have the "
                    "version, so none may be smaller than the one before.",
                )
    return None


def _time_problem(spec: Spec) -> Problem | None:
    """Durations that are longer than what they are for: dates end, and so do the settings of servers."""
    batching = spec.serving.batching
    for where, seconds, most, hint in (
        ("spec.rollout.soak", spec.rollout.soak, "720h", "; paused: true holds a rollout for as long as you like"),
        ("spec.rollout.progressDeadline", spec.rollout.progress_deadline, "168h", ""),
        ("spec.serving.batching.maxDelay", batching.max_delay if batching else 0.0, "1h", ""),
    ):
        if seconds > parse_duration(most):
            return Problem(reasons.INVALID_SPEC, f"{where} is longer than {most}; write a shorter one{hint}.")
    return None
