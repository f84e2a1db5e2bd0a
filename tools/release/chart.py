"""Writes the Helm chart: the objects of the installation, with the few places that its users set.

Nothing of it is kept by hand, so that it cannot say anything else than manifests/base; a test renders it with Helm and
holds the result against kustomize's.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from .installation import NAME, Images, installation, pod, settings
from .kustomization import Object, manifest

CHART = "edgemodel"
KEEP = {"helm.sh/resource-policy": "keep"}
"""Uninstalling the chart leaves the definition, and with it every EdgeModel and what serves."""
CHECKSUM = "checksum/settings"
"""Annotation of the pod that restarts it when a setting changes."""
OPTIONAL = ("imagePullSecrets", "tolerations")
"""Lists of the pod that are left out where they are empty."""

NOTES = f"""\
The operator is {NAME} in namespace {{{{ .Release.Namespace }}}}.

It reads the latency of the servers only from a namespace with this label, which the chart sets with
namespace.create=true and you set otherwise:

  kubectl label namespace {{{{ .Release.Namespace }}}} edge5g.io/metrics=true

Models are pushed to {{{{ .Values.settings.EDGEMODEL_REPOSITORY }}}}.
"""


def write_chart(folder: Path, version: str, images: Images) -> None:
    """Write the chart of `version` into `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "templates").mkdir(parents=True)
    objects = installation(images)
    (folder / "Chart.yaml").write_text(_yaml(_metadata(version)))
    (folder / "values.yaml").write_text(_yaml(_values(objects)))
    (folder / "values.schema.json").write_text(json.dumps(_SCHEMA, indent=2) + "\n")
    (folder / "templates" / "NOTES.txt").write_text(NOTES)
    (folder / "templates" / "operator.yaml").write_text(_template(objects))


def _metadata(version: str) -> Object:
    return {
        "apiVersion": "v2",
        "name": CHART,
        "description": "Takes trained models to every edge site: compressed, measured, rolled out, scaled.",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": ">=1.20.0-0",
    }


def _values(objects: list[Object]) -> Object:
    spec = pod(objects)
    (container,) = spec["containers"]
    return {
        "image": container["image"],
        "settings": settings(objects),
        "resources": container["resources"],
        "affinity": spec["affinity"],
        **{name: [] for name in OPTIONAL},
        "namespace": {"create": False},
    }


_SCHEMA: Object = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "settings"],
    "properties": {
        "image": {"type": "string", "minLength": 1, "description": "The operator's image."},
        "settings": {
            "type": "object",
            "description": "The operator's settings, as `edgemodel-operator --help` lists them.",
            "propertyNames": {"pattern": "^EDGEMODEL_[A-Z_]+$"},
            "additionalProperties": {"type": "string"},
        },
        "resources": {"type": "object", "description": "The operator's requests and limits."},
        "affinity": {
            "type": "object",
            "description": "On which nodes the operator runs: by default, none at the edge.",
        },
        "imagePullSecrets": {"type": "array", "description": "For the operator's image."},
        "tolerations": {"type": "array", "description": "The operator's."},
        "namespace": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "create": {
                    "type": "boolean",
                    "description": "Have the chart contain its namespace, as Argo CD and `helm template` can use it.",
                }
            },
        },
    },
}


def _template(objects: list[Object]) -> str:
    """The objects as a Helm template. Places are marked in the objects, and become template actions in the text."""
    (original,) = {obj["metadata"]["namespace"] for obj in objects if "namespace" in obj["metadata"]}
    text = []
    for obj in objects:
        _mark(obj, original)
        document = _actions(manifest([obj]))
        if obj["kind"] == "Namespace":
            document = f"{{{{- if .Values.namespace.create }}}}\n{document}{{{{- end }}}}\n"
        text.append(document)
    return "---\n".join(text)


def _mark(obj: Object, namespace: str) -> None:
    """Put marks for template actions into `obj`: `{{ … }}` as a string, `@json NAME` and `@with NAME` for values."""
    metadata, kind = obj["metadata"], obj["kind"]
    release = "{{ .Release.Namespace }}"
    if "namespace" in metadata:
        metadata["namespace"] = release
    if kind == "Namespace":
        metadata["name"] = release
    for subject in obj.get("subjects", ()):
        if subject["namespace"] == namespace:
            subject["namespace"] = release
    if kind == "CustomResourceDefinition":
        metadata["annotations"] = metadata.get("annotations", {}) | KEEP
    if kind == "ConfigMap":
        obj["data"] = "@json .Values.settings"
    if kind == "Deployment":
        template = obj["spec"]["template"]
        template["metadata"]["annotations"] = {CHECKSUM: "{{ toJson .Values.settings | sha256sum }}"}
        spec = template["spec"]
        (container,) = spec["containers"]
        container["image"] = "{{ .Values.image }}"
        container["resources"] = "@json .Values.resources"
        spec["affinity"] = "@json .Values.affinity"
        spec.update({f"@with {name}": None for name in OPTIONAL})


def _actions(text: str) -> str:
    text = re.sub(r"'@json ([.\w]+)'", r"{{ toJson \1 }}", text)
    optional = r"\1{{- with .Values.\2 }}\n\1\2: {{ toJson . }}\n\1{{- end }}\n"
    return re.sub(r"^( *)'@with (\w+)': null\n", optional, text, flags=re.MULTILINE)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120)
