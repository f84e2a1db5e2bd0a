"""Types that several parts of an EdgeModel have in common."""

from typing import Annotated, Any

from msgspec import Meta, field

from edgemodel_contract.base import Struct
from edgemodel_contract.quantity import QUANTITY_PATTERN

Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Sha256 = Annotated[str, Meta(max_length=64, pattern=r"^[0-9a-f]{64}$")]
TensorName = Annotated[str, Meta(min_length=1, max_length=256)]
Quantity = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=32, pattern=QUANTITY_PATTERN)]
Quantities = Annotated[dict[str, Quantity], Meta(max_length=32)]

_LIST_TYPE = "x-kubernetes-list-type"


def keyed(key: str, max_length: int, **bounds: Any) -> Meta:
    """Of a list: no two entries have the same ``key``, and server-side apply merges it entry by entry."""
    schema = {_LIST_TYPE: "map", "x-kubernetes-list-map-keys": [key]}
    return Meta(max_length=max_length, extra_json_schema=schema, **bounds)


def unique(max_length: int, **bounds: Any) -> Meta:
    """Of a list: no two entries are equal, and server-side apply merges it entry by entry."""
    return Meta(max_length=max_length, extra_json_schema={_LIST_TYPE: "set"}, **bounds)


class SecretRef(Struct, frozen=True, kw_only=True):
    """A Secret in the EdgeModel's namespace."""

    name: Name
    """Name of the Secret."""


class Resources(Struct, frozen=True, kw_only=True):
    """Requests and limits, as in a container: quantities by resource name."""

    requests: Quantities = field(default_factory=dict)
    """What the scheduler sets aside."""
    limits: Quantities = field(default_factory=dict)
    """What is never exceeded."""
