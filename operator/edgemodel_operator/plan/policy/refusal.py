"""What an API server refuses a child for, from its answer."""

import re

from edgemodel_operator.api import reasons

_INVALID = frozenset({400, 403, 409, 422})
_UNKNOWN_FIELD = "field not declared in schema"
"""Of a field that an older Kubernetes does not know; it answers with the status of faults of its own."""
_ALLOCATED = "port is already allocated"
"""Of a node port that another Service has."""
_EXHAUSTED = re.compile(r"failed to allocate .*(nodePort|healthCheckNodePort|IP)|range is full")
"""Of a cluster that has no node port or address left; with the status of faults of its own, too."""


def refusal_reason(status: int, message: str) -> str | None:
    """The reason for the condition; None where the answer is no refusal, and another try may do."""
    if status == 409:
        return reasons.NAME_CONFLICT
    if _ALLOCATED in message:
        return reasons.NODE_PORT_CONFLICT
    is_refusal = status in _INVALID or _UNKNOWN_FIELD in message or _EXHAUSTED.search(message) is not None
    return reasons.REJECTED if is_refusal else None
