"""Builds the objects of a kustomization: the part of kustomize that manifests/base uses, and nothing more.

A release is made without kustomize, then; a test holds the result against `kubectl kustomize`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_FIELDS = frozenset({"apiVersion", "kind", "namespace", "resources", "labels"})
_CLUSTER_SCOPED = frozenset({"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"})


class KustomizationError(Exception):
    """The kustomization uses what is not built here; the message names it."""


def build(folder: Path) -> list[Object]:
    """The objects of the kustomization in `folder`: namespaces first, definitions next, then in the files' order.

    Raises:
        KustomizationError: a field that is not understood.
    """
    order = {"Namespace": 0, "CustomResourceDefinition": 1}
    return sorted(_objects(folder), key=lambda obj: order.get(obj["kind"], 2))


def _objects(folder: Path) -> Iterator[Object]:
    file = folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    unknown = sorted(kustomization.keys() - _FIELDS)
    if unknown:
        raise KustomizationError(f"{file}: {', '.join(unknown)}: not understood; teach tools/release/kustomization.py.")
    pairs = dict(_pairs(file, kustomization.get("labels", ())))
    namespace = kustomization.get("namespace")
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        for obj in _objects(path) if path.is_dir() else yaml.safe_load_all(path.read_text()):
            metadata = obj["metadata"]
            if namespace and obj["kind"] not in _CLUSTER_SCOPED:
                metadata["namespace"] = namespace
            if pairs:
                metadata["labels"] = metadata.get("labels", {}) | pairs
            yield obj


def _pairs(file: Path, labels: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for entry in labels:
        if entry.keys() != {"pairs"}:
            raise KustomizationError(
                f"{file}: labels: only pairs are understood; teach tools/release/kustomization.py."
            )
        yield from entry["pairs"].items()


def manifest(objects: Iterable[Object]) -> str:
    """The objects as one YAML stream."""
    # Through JSON, so that equal parts are written out and not as references to each other.
    plain = (json.loads(json.dumps(obj)) for obj in objects)
    return "---\n".join(yaml.safe_dump(obj, sort_keys=False, width=120, allow_unicode=True) for obj in plain)
