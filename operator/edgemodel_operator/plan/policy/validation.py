"""Whether a spec can be carried out: rules across fields, and what this version does not do yet.

The schema's CEL rules say the same first, on servers that know CEL (1.25 and later).
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from edgemodel_contract.quantity import parse_duration
from edgemodel_operator.api import EdgeModel, Resources, Spec, reasons
from edgemodel_operator.manifests.resources import threads


@dataclass(frozen=True)
class Problem:
    """``reason`` is InvalidSpec or NotSupported; ``message`` says which field and what to do."""

    reason: str
    message: str


_INVALID: tuple[tuple[Callable[[Spec], bool], str], ...] = (
    (
        lambda s: (
            s.compression.mode == "Manual" and s.compression.pruning is UNSET and s.compression.quantization is UNSET
        ),
        "spec.compression: mode Manual needs pruning or quantization",
    ),
    (
        lambda s: (
            s.compression.mode != "Manual"
            and not (
                s.compression.pruning is UNSET
                and s.compression.quantization is UNSET
                and s.compression.recovery is UNSET
            )
        ),
        "spec.compression: pruning, quantization and recovery are only read in mode Manual: set mode to Manual or "
        "remove them",
    ),
    (
        lambda s: s.compression.recovery is not UNSET and s.compression.pruning is UNSET,
        "spec.compression: recovery trains what pruning has hurt: add pruning, or remove recovery",
    ),
    (
        lambda s: (
            s.compression.pruning is not UNSET and not (s.compression.pruning.sparsity or s.compression.pruning.depth)
        ),
        "spec.compression.pruning: pruning needs sparsity or depth",
    ),
    (
        lambda s: (
            s.compression.pruning is not UNSET and s.compression.pruning.depth > 0 and s.compression.dataset is UNSET
        ),
        "spec.compression: pruning.depth is measured on data: add dataset",
    ),
    (
        lambda s: s.compression.recovery is not UNSET and s.compression.dataset is UNSET,
        "spec.compression: recovery trains on data: add dataset",
    ),
    (
        lambda s: (
            s.compression.quantization is not UNSET
            and s.compression.quantization.bits == 4
            and s.compression.quantization.method != "WeightOnly"
        ),
        "spec.compression: 4 bits are for quantization.method WeightOnly",
    ),
    (
        lambda s: (
            s.compression.quantization is not UNSET
            and s.compression.quantization.method == "Static"
            and s.compression.dataset is UNSET
        ),
        "spec.compression: static quantization is calibrated on data: add dataset, or use quantization.method Dynamic",
    ),
    (
        lambda s: s.compression.metric is not UNSET and s.compression.dataset is UNSET,
        "spec.compression: metric is measured on data: add dataset",
    ),
    (
        lambda s: s.compression.objectives.max_accuracy_drop is not UNSET and s.compression.dataset is UNSET,
        "spec.compression: objectives.maxAccuracyDrop is measured on data: add dataset",
    ),
    (
        lambda s: s.scaling.max_replicas is not UNSET and s.scaling.max_replicas < s.scaling.min_replicas,
        "spec.scaling: maxReplicas must not be below minReplicas",
    ),
)

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
    for rows, reason in ((_INVALID, reasons.INVALID_SPEC), (_LATER, reasons.NOT_SUPPORTED)):
        for applies, message in rows:
            if applies(spec):
                return Problem(reason, f"{message}.")
    return _amount_problem(spec) or _address_problem(spec)


def _amount_problem(spec: Spec) -> Problem | None:
    """Amounts that fit the schema's patterns and mean nothing."""
    places = [("spec.serving.resources", spec.serving.resources, "spec.scaling.target", spec.scaling.target)]
    for override in spec.placement.overrides if spec.placement.overrides is not UNSET else []:
        where = f"spec.placement.overrides of site {override.site}"
        resources = override.serving.resources if override.serving is not UNSET else UNSET
        target = override.scaling.target if override.scaling is not UNSET else UNSET
        places.append((where, resources if resources is not UNSET else Resources(), where, target))
    for where, resources, whose, target in places:
        try:
            threads(resources)
        except ValueError as error:
            return Problem(reasons.INVALID_SPEC, f"{where}: {error}.")
        if target is not UNSET and parse_duration(target.latency) <= 0:
            return Problem(reasons.INVALID_SPEC, f"{whose}: the target latency must be more than zero.")
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
