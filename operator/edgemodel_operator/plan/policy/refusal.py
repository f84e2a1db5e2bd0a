"""What an API server refuses a child for, from its answer."""

from edgemodel_operator.api import reasons

_INVALID = frozenset({400, 403, 409, 422})
_UNKNOWN_FIELD = "field not declared in schema"
"""Of a field that an older Kubernetes does not know; it answers with the status of faults of its own."""
_ALLOCATED = "port is already allocated"
"""Of a node port that another Service has."""


def refusal_reason(status: int, message: str) -> str | None:
    """The reason for the condition; None where the answer is no refusal, and another try may do."""
    if status == 409:
        return reasons.NAME_CONFLICT
    if _ALLOCATED in message:
        return reasons.NODE_PORT_CONFLICT
    return reasons.REJECTED if status in _INVALID or _UNKNOWN_FIELD in message else None
