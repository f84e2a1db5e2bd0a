"""What the spec says of pods, put into a pod that has been built: beside what it has, never instead of it."""

from typing import Any

import msgspec

from edgemodel_operator.api.pods import EnvVar, ExtraVolume, PodTemplate
from edgemodel_operator.observed import Object

EXTRA_DIR = "/mnt/extra"
"""Below it, each further volume by its name: none can be put over what the image has."""


def extend(template: Object, wanted: PodTemplate) -> Object:
    """``template``, a pod template with one container, with what is ``wanted`` beside."""
    metadata: dict[str, Any] = {"labels": dict(wanted.labels) | template["metadata"]["labels"]}
    if wanted.annotations:
        metadata["annotations"] = dict(wanted.annotations)
    pod: dict[str, Any] = dict(template["spec"])
    for name, value in (
        ("priorityClassName", wanted.priority_class_name),
        ("runtimeClassName", wanted.runtime_class_name),
        ("serviceAccountName", wanted.service_account_name),
    ):
        if value is not None:
            pod[name] = value
    if wanted.tolerations:
        pod["tolerations"] = [*pod.get("tolerations", []), *_json(wanted.tolerations)]
    if wanted.node_affinity is not None:
        affinity = pod.get("affinity", {})
        nodes = _both(affinity.get("nodeAffinity", {}), _json(wanted.node_affinity))
        pod["affinity"] = affinity | {"nodeAffinity": nodes}
    if wanted.image_pull_secrets:
        secrets = pod.get("imagePullSecrets", [])
        pod["imagePullSecrets"] = secrets + [item for item in _json(wanted.image_pull_secrets) if item not in secrets]
    if wanted.extra_volumes:
        (container,) = pod["containers"]
        pod["volumes"] = pod.get("volumes", []) + [_volume(item) for item in wanted.extra_volumes]
        mounts = [
            {"name": _name(item), "mountPath": f"{EXTRA_DIR}/{item.name}", "readOnly": True}
            for item in wanted.extra_volumes
        ]
        pod["containers"] = [container | {"volumeMounts": container.get("volumeMounts", []) + mounts}]
    return {"metadata": metadata, "spec": pod}


def variables(own: tuple[EnvVar, ...], values: dict[str, str]) -> list[dict[str, Any]]:
    """A container's environment: ``values``, but what the user's ``own`` variables set is theirs."""
    result: dict[str, Any] = {name: {"name": name, "value": value} for name, value in values.items()}
    for item in own:
        source = {"value": item.value} if item.value_from is None else {"valueFrom": _json(item.value_from)}
        result[item.name] = {"name": item.name, **source}
    return list(result.values())


def _both(ours: Object, theirs: Object) -> Object:
    """A node affinity that asks for both: of the alternatives of each, every pair."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    required = [part[key]["nodeSelectorTerms"] for part in (ours, theirs) if key in part]
    if len(required) < 2:
        return ours | theirs
    terms = [
        {"matchExpressions": [*one["matchExpressions"], *other["matchExpressions"]]}
        for one in required[0]
        for other in required[1]
    ]
    return ours | theirs | {key: {"nodeSelectorTerms": terms}}


def _volume(item: ExtraVolume) -> Object:
    sources: Object = {name: source for name, source in _json(item).items() if name != "name"}
    if "persistentVolumeClaim" in sources:
        sources["persistentVolumeClaim"]["readOnly"] = True
    return {"name": _name(item), **sources}


def _name(item: ExtraVolume) -> str:
    """Of the volume in the pod, which has volumes of the operator's, too."""
    return f"extra-{item.name}"


def _json(value: Any) -> Any:
    """As Kubernetes has it: the structs have its shapes and names."""
    return msgspec.json.decode(msgspec.json.encode(value))
