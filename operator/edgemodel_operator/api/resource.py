"""The whole resource, and reading it."""

from typing import Any

import msgspec

from edgemodel_contract.base import Struct
from edgemodel_contract.written import read
from edgemodel_operator.api.spec import Spec
from edgemodel_operator.api.status import Status


class Metadata(Struct, frozen=True, kw_only=True):
    """The few fields of ObjectMeta that the operator reads."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    deletion_timestamp: str | None = None


class EdgeModel(Struct, frozen=True, kw_only=True):
    """One resource as read. ``spec`` is None where it is not valid; ``spec_error`` then says why."""

    metadata: Metadata
    spec: Spec | None
    spec_error: str | None = None
    status: Status = Status()

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)"""
        return self.metadata.namespace, self.metadata.name


def parse(raw: dict[str, Any]) -> EdgeModel:
    """Read a resource as the API server gives it.

    Never raises for what a user wrote: servers that keep invalid specs exist, and the reason belongs in a condition.
    A status that cannot be read (hand-edited, from another version) counts as empty; it is computed anew.
    """
    metadata = msgspec.convert(raw["metadata"], Metadata)
    spec: Spec | None = None
    error: str | None = None
    try:
        spec = msgspec.convert(read(raw.get("spec", {}), Spec, "$"), Spec)
    except ValueError as problem:
        error = str(problem).replace("$.", "spec.").replace("`", "'")
    try:
        status = msgspec.convert(raw.get("status") or {}, Status)
    except msgspec.ValidationError:
        status = Status()
    return EdgeModel(metadata=metadata, spec=spec, spec_error=error, status=status)
