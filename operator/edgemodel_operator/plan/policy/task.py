"""The compression task that a spec asks for."""

import hashlib

from edgemodel_contract.spec import make_task
from edgemodel_contract.task import Task
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.settings import Settings

MAX_REPOSITORY = 255
"""Characters of a repository's name, the registry's host included (distribution's reference grammar)."""


def desired_task(model: EdgeModel, spec: Spec, settings: Settings) -> Task:
    """Depends on nothing but the spec and the settings, so that its digest names the result."""
    namespace, name = model.key
    return make_task(
        spec,
        name=name,
        base_image=settings.inference_image,
        platform=settings.platform,
        repository=repository(settings.repository, namespace, name),
        engine=settings.compression_image,
    )


def repository(root: str, namespace: str, name: str) -> str:
    """Where the images of an EdgeModel go. Registries take at most 255 characters, so a long name is cut and marked
    with a hash of all of it."""
    plain = f"{root}/{namespace}/{name}"
    if len(plain) <= MAX_REPOSITORY:
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:12]
    kept = max(0, MAX_REPOSITORY - len(f"{root}/{namespace}/") - len(mark) - 1)
    return f"{root}/{namespace}/{name[:kept].rstrip('-.')}-{mark}"
