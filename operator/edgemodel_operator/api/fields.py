"""Types that several parts of the spec have in common."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from edgemodel_contract.quantity import DURATION_PATTERN, PERCENT_PATTERN, QUANTITY_PATTERN, SIZE_PATTERN
from edgemodel_operator.api.base import Struct

Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Sha256 = Annotated[str, Meta(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[str, Meta(max_length=32, pattern=SIZE_PATTERN)]
Duration = Annotated[str, Meta(max_length=32, pattern=DURATION_PATTERN)]
Percent = Annotated[str, Meta(max_length=16, pattern=PERCENT_PATTERN)]
Uri = Annotated[str, Meta(max_length=2048, pattern=r"^(oci|https?|s3|pvc|hf)://[^\s]+$")]
Quantity = Annotated[int, Meta(ge=0)] | Annotated[str, Meta(max_length=32, pattern=QUANTITY_PATTERN)]
Quantities = Annotated[dict[str, Quantity], Meta(max_length=32)]
NodeLabels = Annotated[dict[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=64)]


def keyed(key: str, max_length: int) -> Meta:
    """Of a list: no two entries have the same ``key``, and server-side apply merges it entry by entry."""
    schema = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return Meta(max_length=max_length, extra_json_schema=schema)


class SecretRef(Struct, frozen=True, kw_only=True):
    """A Secret in the EdgeModel's namespace."""

    name: Name
    """Of the Secret."""


class Resources(Struct, frozen=True, kw_only=True):
    """As in a container: quantities by resource name."""

    requests: Quantities | UnsetType = UNSET
    """What the scheduler sets aside."""
    limits: Quantities | UnsetType = UNSET
    """What is never exceeded."""
