"""Container resources from what a spec says."""

from typing import Any

from edgemodel_contract.fields import Resources


def container_resources(resources: Resources) -> dict[str, Any]:
    """Requests and limits with every quantity as a string."""
    result: dict[str, Any] = {}
    if resources.requests:
        result["requests"] = {name: str(value) for name, value in resources.requests.items()}
    if resources.limits:
        result["limits"] = {name: str(value) for name, value in resources.limits.items()}
    return result
