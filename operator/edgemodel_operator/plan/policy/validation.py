"""Whether a spec can be carried out: rules across fields, and what this version does not do yet.

The rules of the structs are in the schema, too, for servers that know CEL (1.25 and later).
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from edgemodel_contract.quantity import parse_duration, parse_quantity
from edgemodel_operator.api import EdgeModel, Resources, Spec, reasons
from edgemodel_operator.api.base import broken_rules
from edgemodel_operator.manifests.resources import threads


@dataclass(frozen=True)
class Problem:
    """``reason`` is InvalidSpec or NotSupported; ``message`` says which field and what to do."""

    reason: str
    message: str


_LATER: tuple[tuple[Callable[[Spec], bool], str], ...] = (
    (
        lambda s: s.model.uri.startswith(("s3://", "hf://")),
        "spec.model.uri: this version fetches oci://, https://, http:// and pvc:// only; put the model in one of those",
    ),
    (
        lambda s: s.compression.dataset is not UNSET and s.compression.dataset.uri.startswith(("s3://", "hf://")),
        "spec.compression.dataset.uri: this version fetches oci://, https://, http:// and pvc:// only",
    ),
    (
        lambda s: s.scaling.metrics != "Pods",
        "spec.scaling.metrics: this version reads latency from the pods only; use Pods",
    ),
    (
        lambda s: s.rollout.gates is not UNSET or s.rollout.auto_rollback,
        "spec.rollout: this version gates a wave on readiness only; remove gates and autoRollback",
    ),
)


def find_problem(model: EdgeModel) -> Problem | None:
    """The first thing that stands in the way of carrying out ``model.spec``, or None."""
    if model.spec is None:
        return Problem(
            reasons.INVALID_SPEC, f"The spec cannot be read: {model.spec_error}. Correct it and apply again."
        )
    spec = model.spec
    for path, rule in broken_rules(spec, "spec"):
        return Problem(reasons.INVALID_SPEC, f"{path}: {rule.message}.")
    for applies, message in _LATER:
        if applies(spec):
            return Problem(reasons.NOT_SUPPORTED, f"{message}.")
    return _amount_problem(spec) or _address_problem(spec)


def _amount_problem(spec: Spec) -> Problem | None:
    """Amounts that fit the schema's patterns and mean nothing."""
    for override in spec.placement.overrides if spec.placement.overrides is not UNSET else []:
        if override.scaling is UNSET:
            continue
        own = override.scaling
        least = own.min_replicas if own.min_replicas is not UNSET else spec.scaling.min_replicas
        most = own.max_replicas if own.max_replicas is not UNSET else spec.scaling.max_replicas
        if most is not UNSET and most < least:
            return Problem(
                reasons.INVALID_SPEC,
                f"spec.placement.overrides of site {override.site}: with spec.scaling, maxReplicas {most} is below "
                f"minReplicas {least}.",
            )
    places = [
        ("spec.serving.resources", spec.serving.resources, "spec.scaling.target", spec.scaling.target),
        ("spec.compression.job.resources", spec.compression.job.resources, "", UNSET),
    ]
    for override in spec.placement.overrides if spec.placement.overrides is not UNSET else []:
        where = f"spec.placement.overrides of site {override.site}"
        resources = override.serving.resources if override.serving is not UNSET else UNSET
        target = override.scaling.target if override.scaling is not UNSET else UNSET
        places.append((where, resources if resources is not UNSET else Resources(), where, target))
    for where, resources, whose, target in places:
        try:
            threads(resources)
            above = _request_above_limit(resources)
        except ValueError as error:
            return Problem(reasons.INVALID_SPEC, f"{where}: {error}.")
        if above is not None:
            return Problem(reasons.INVALID_SPEC, f"{where}: {above}; raise the limit or lower the request.")
        if target is not UNSET and parse_duration(target.latency) <= 0:
            return Problem(reasons.INVALID_SPEC, f"{whose}: the target latency must be more than zero.")
    return None


def _request_above_limit(resources: Resources) -> str | None:
    """Raises ValueError where an amount is no quantity."""
    limits = resources.limits if resources.limits is not UNSET else {}
    for name, request in (resources.requests if resources.requests is not UNSET else {}).items():
        if name in limits and parse_quantity(str(request)) > parse_quantity(str(limits[name])):
            return f"requests.{name} {request} is above limits.{name} {limits[name]}"
    return None


def _address_problem(spec: Spec) -> Problem | None:
    for block in spec.serving.allow_from if spec.serving.allow_from is not UNSET else []:
        try:
            ipaddress.ip_network(block)
        except ValueError as error:
            return Problem(
                reasons.INVALID_SPEC, f"spec.serving.allowFrom: {error}; write a block such as 10.20.0.0/16."
            )
    return None
