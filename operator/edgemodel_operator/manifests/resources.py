"""Container resources from what a spec says."""

import math
from typing import Any

from msgspec import UNSET

from edgemodel_contract.quantity import parse_cpu
from edgemodel_operator.api import Resources


def container_resources(resources: Resources) -> dict[str, Any]:
    """Requests and limits with every quantity as a string."""
    result: dict[str, Any] = {}
    if resources.requests is not UNSET and resources.requests:
        result["requests"] = {name: str(value) for name, value in resources.requests.items()}
    if resources.limits is not UNSET and resources.limits:
        result["limits"] = {name: str(value) for name, value in resources.limits.items()}
    return result


def threads(resources: Resources) -> int:
    """Threads of one server: its CPU limit, else its CPU request, rounded up; 1 where neither is named.

    Raises:
        ValueError: the quantity is not a number of CPUs.
    """
    for amounts in (resources.limits, resources.requests):
        if amounts is not UNSET and "cpu" in amounts:
            return max(1, math.ceil(parse_cpu(str(amounts["cpu"]))))
    return 1
