"""The installation of one version: the objects of manifests/base with that version's images."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .kustomization import Object, build

_ROOT = Path(__file__).parents[2]
BASE = _ROOT / "manifests" / "base"
PROJECT_VERSION: str = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
NAME = "edgemodel-operator"


@dataclass(frozen=True)
class Images:
    """References of the three images, by digest where it is known, and the repository that models are pushed to."""

    operator: str
    compression: str
    inference: str
    models: str

    @classmethod
    def tagged(cls, registry: str, version: str) -> Images:
        """The images of `version` in a registry such as `ghcr.io/somebody/edgemodel`."""
        return cls(
            operator=f"{registry}/operator:{version}",
            compression=f"{registry}/compression:{version}",
            inference=f"{registry}/inference:{version}",
            models=f"{registry}/models",
        )


def installation(images: Images) -> list[Object]:
    """The objects that install the operator with these images."""
    objects = build(BASE)
    settings(objects).update(
        EDGEMODEL_COMPRESSION_IMAGE=images.compression,
        EDGEMODEL_INFERENCE_IMAGE=images.inference,
        EDGEMODEL_REPOSITORY=images.models,
    )
    (container,) = pod(objects)["containers"]
    container["image"] = images.operator
    return objects


def settings(objects: list[Object]) -> dict[str, str]:
    """The data of the operator's ConfigMap among `objects`."""
    data: dict[str, str] = _one(objects, "ConfigMap")["data"]
    return data


def pod(objects: list[Object]) -> Object:
    """The spec of the operator's pod among `objects`."""
    spec: Object = _one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def _one(objects: list[Object], kind: str) -> Object:
    (found,) = [obj for obj in objects if obj["kind"] == kind and obj["metadata"]["name"] == NAME]
    return found
