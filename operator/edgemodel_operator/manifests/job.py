"""The compression Job: one attempt at one task, without Kubernetes credentials."""

from typing import Any
from urllib.parse import urlsplit

from edgemodel_contract.encoding import digest
from edgemodel_contract.task import (
    CLAIMS_DIR,
    DATASET_CREDENTIALS_DIR,
    MODEL_CREDENTIALS_DIR,
    REGISTRY_CA_DIR,
    REGISTRY_CREDENTIALS_DIR,
    TASK_DIR,
    TASK_FILE,
    WORK_DIR,
    Task,
)
from edgemodel_operator.api import EDGE_NODE_LABEL, EdgeModel, Spec
from edgemodel_operator.api.labels import ATTEMPT_LABEL, TASK_LABEL
from edgemodel_operator.manifests.config_map import task_config_map_name
from edgemodel_operator.manifests.names import child_name, model_labels
from edgemodel_operator.manifests.owned import metadata, sealed
from edgemodel_operator.manifests.pod_template import extend, variables
from edgemodel_operator.manifests.resources import container_resources
from edgemodel_operator.manifests.security import container_security_context, pod_security_context
from edgemodel_operator.observed import COMPRESSION_CONTAINER, Object
from edgemodel_operator.settings import Settings

WORK_SIZE = "32Gi"
"""Of the scratch space: the largest source, its data, and some candidates at once."""


def build_job(model: EdgeModel, spec: Spec, task: Task, attempt: int, off_edge: bool, settings: Settings) -> Object:
    """The Job. ``backoffLimit`` is 0: whether and when to try again depends on the reason, so the plan decides.

    ``off_edge`` keeps it from nodes with the edge label: compression would take the users' CPU.
    """
    labels = model_labels(model.metadata.name, "compression") | {
        TASK_LABEL: task.tag,
        ATTEMPT_LABEL: str(attempt),
    }
    volumes, mounts = _volumes(model, spec, task, settings)
    container: dict[str, Any] = {
        "name": COMPRESSION_CONTAINER,
        "image": settings.compression_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--task", f"{TASK_DIR}/{TASK_FILE}"],
        "env": variables(spec.compression.job.env, {"TMPDIR": WORK_DIR, "HOME": WORK_DIR}),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": container_security_context(),
        "volumeMounts": mounts,
    }
    if resources := container_resources(spec.compression.job.resources):
        container["resources"] = resources
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(),
        "containers": [container],
        "volumes": volumes,
    } | _node_choice(spec, off_edge)
    if settings.registry_secret:
        pod["imagePullSecrets"] = [{"name": settings.registry_secret}]
    job = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": spec.compression.job.active_deadline_seconds,
        "template": extend({"metadata": {"labels": labels}, "spec": pod}, spec.compression.job.pod_template),
    }
    # Jobs cannot be run again nor be changed: another attempt, or other settings, are another Job.
    name = child_name(model.metadata.name, "compress", task.tag[:10], str(attempt), digest(job)[:6])
    return sealed({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(model, name, labels), "spec": job})


def _node_choice(spec: Spec, off_edge: bool) -> dict[str, Any]:
    selector = spec.compression.job.node_selector
    if selector:
        return {"nodeSelector": dict(selector)}
    affinity = spec.compression.job.pod_template.node_affinity
    chosen = affinity is not None and affinity.required_during_scheduling_ignored_during_execution is not None
    if chosen or not off_edge:
        return {}
    terms = [{"matchExpressions": [{"key": EDGE_NODE_LABEL, "operator": "DoesNotExist"}]}]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


def _volumes(
    model: EdgeModel, spec: Spec, task: Task, settings: Settings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [
        {"name": "task", "configMap": {"name": task_config_map_name(model, task)}},
        {"name": "work", "emptyDir": {"sizeLimit": WORK_SIZE}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "task", "mountPath": TASK_DIR, "readOnly": True},
        {"name": "work", "mountPath": WORK_DIR},
    ]

    def mount(name: str, source: dict[str, Any], path: str) -> None:
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": path, "readOnly": True})

    dataset = spec.compression.dataset
    if spec.model.secret_ref is not None:
        mount("model-credentials", {"secret": {"secretName": spec.model.secret_ref.name}}, MODEL_CREDENTIALS_DIR)
    if dataset is not None and dataset.secret_ref is not None:
        mount("dataset-credentials", {"secret": {"secretName": dataset.secret_ref.name}}, DATASET_CREDENTIALS_DIR)
    if settings.registry_secret:
        mount("registry", {"secret": {"secretName": settings.registry_secret}}, REGISTRY_CREDENTIALS_DIR)
    if settings.registry_ca_config_map:
        mount("ca", {"configMap": {"name": settings.registry_ca_config_map}}, REGISTRY_CA_DIR)
    for claim in claims(task):
        mount(
            child_name("claim", claim),
            {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
            f"{CLAIMS_DIR}/{claim}",
        )
    return volumes, mounts


def claims(task: Task) -> list[str]:
    """PersistentVolumeClaims that the task's sources name, each once."""
    sources = [task.model, *([task.dataset] if task.dataset else [])]
    return sorted({urlsplit(source.uri).netloc for source in sources if source.uri.startswith("pvc://")})
