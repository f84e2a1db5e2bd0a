"""The ConfigMap that carries a compression task to its Job."""

from edgemodel_contract.encoding import encode
from edgemodel_contract.task import REGISTRY_ACCESS_FILE, TASK_FILE, RegistryAccess, Task
from edgemodel_operator.api import EdgeModel
from edgemodel_operator.api.labels import TASK_LABEL
from edgemodel_operator.manifests.names import child_name, model_labels
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.observed import Object
from edgemodel_operator.settings import Settings


def task_config_map_name(model: EdgeModel, task: Task) -> str:
    """One per task: a Job that still runs keeps reading its own."""
    return child_name(model.metadata.name, "task", task.tag[:10])


def build_task_config_map(model: EdgeModel, task: Task, settings: Settings) -> Object:
    """``task.json``, and ``registries.json`` beside it."""
    access = RegistryAccess(endpoints=dict(settings.registry_endpoints), insecure=tuple(settings.insecure_registries))
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(
                model,
                task_config_map_name(model, task),
                model_labels(model.metadata.name, "compression") | {TASK_LABEL: task.tag},
            ),
            "data": {TASK_FILE: encode(task).decode(), REGISTRY_ACCESS_FILE: encode(access).decode()},
        }
    )
