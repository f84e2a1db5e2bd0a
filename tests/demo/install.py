"""Installs the operator from manifests/base, as a platform engineer would: with a kustomize overlay of one's own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.localcluster import Cluster, ClusterError
from tools.localcluster.handle import OPERATOR_NAMESPACE, OPERATOR_SELECTOR
from tools.localcluster.system.paths import state_dir
from tools.localcluster.system.progress import Progress

from .sample import ROOT

_BASE = ROOT / "manifests" / "base"
DEPLOYMENT = "edgemodel-operator"
READY_SECONDS = 180.0
# Shorter than the defaults, so that the demo does not wait for averages.
_BRISK = {"EDGEMODEL_SCRAPE_INTERVAL": "2s", "EDGEMODEL_LATENCY_WINDOW": "10s"}


def install(cluster: Cluster, images: Mapping[str, str], progress: Progress) -> None:
    """Apply the overlay and wait until the operator is ready.

    Args:
        images: the references by digest that tools.localcluster.images.build returned.
    """
    with progress.step("operator: kubectl apply -k") as step:
        folder = state_dir() / "demo"
        write_overlay(folder, images, settings(cluster, images), old_kustomize=_old_kustomize(cluster))
        # Not server-side: Kubernetes 1.20 then refuses CEL rules, which otherwise it ignores.
        cluster.kubectl.apply("-k", folder)
        cluster.kubectl("wait", "--for=condition=Established", "crd/edgemodels.edge5g.io", "--timeout=30s")
        _wait(cluster)
        step.note = f"namespace {OPERATOR_NAMESPACE}"


def _wait(cluster: Cluster) -> None:
    """Wait for the new pods, and no longer than they have a chance."""
    deadline = time.monotonic() + READY_SECONDS
    rollout = ("rollout", "status", "-n", OPERATOR_NAMESPACE, f"deployment/{DEPLOYMENT}", "--timeout=5s")
    while cluster.kubectl(*rollout, check=False).returncode != 0:
        pods = cluster.kubectl.json("get", "pods", "-n", OPERATOR_NAMESPACE, "-l", OPERATOR_SELECTOR)["items"]
        problems = [problem for pod in pods if (problem := pod_problem(pod))]
        if problems or time.monotonic() > deadline:
            log = cluster.kubectl(
                *("logs", "-n", OPERATOR_NAMESPACE, "-l", OPERATOR_SELECTOR, "--tail=5"), check=False
            ).stdout.strip()
            what = "; ".join(problems) or f"not ready after {READY_SECONDS:.0f} s"
            raise ClusterError(f"The operator does not start: {what}. Its last lines:\n{log or '(none)'}")


def pod_problem(pod: Mapping[str, Any]) -> str | None:
    """What keeps a pod from ever becoming ready, as its Pod object tells it; None while there is hope."""
    for status in pod["status"].get("containerStatuses", ()):
        waiting = status["state"].get("waiting", {})
        if waiting.get("reason") in (
            "CrashLoopBackOff",
            "ErrImagePull",
            "ImagePullBackOff",
            "CreateContainerConfigError",
        ):
            return f"{pod['metadata']['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()
    return None


def settings(cluster: Cluster, images: Mapping[str, str]) -> dict[str, str]:
    """The operator's environment on this cluster."""
    registry = cluster.registry
    plain = registry.pod_endpoint.startswith("http://")
    return {
        "EDGEMODEL_INFERENCE_IMAGE": images["inference"],
        "EDGEMODEL_COMPRESSION_IMAGE": images["compression"],
        "EDGEMODEL_REPOSITORY": f"{registry.name}/edgemodel/models",
        "EDGEMODEL_REGISTRY_ENDPOINTS": json.dumps({registry.name: registry.pod_endpoint}),
        "EDGEMODEL_INSECURE_REGISTRIES": json.dumps([registry.name] if plain else []),
        **_BRISK,
    }


def write_overlay(
    folder: Path, images: Mapping[str, str], environment: Mapping[str, str], *, old_kustomize: bool = False
) -> None:
    """Write a kustomization over manifests/base: images by digest, settings, and a restart when these change.

    Args:
        old_kustomize: for kubectl before 1.22, whose kustomize reads neither another kustomization as a resource nor
            today's fields: the base's files are copied, its common labels are left out.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    patches = _patches(environment)
    for name, patch in patches.items():
        (folder / name).write_text(json.dumps(patch, indent=2))
    repository, _, digest = images["operator"].partition("@")
    kustomization: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "images": [{"name": DEPLOYMENT, "newName": repository, "digest": digest}],
    }
    if old_kustomize:
        names = [f"{number}-{file.name}" for number, file in enumerate(_files(_BASE))]
        for name, file in zip(names, _files(_BASE), strict=True):
            shutil.copy2(file, folder / name)
        kustomization |= {
            "namespace": OPERATOR_NAMESPACE,
            "resources": names,
            "patchesStrategicMerge": list(patches),
        }
    else:
        # kustomize takes no absolute path to another kustomization.
        kustomization["resources"] = [os.path.relpath(_BASE, folder.resolve())]
        kustomization["patches"] = [{"path": name} for name in patches]
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=2))


def _patches(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    stamp = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:16]
    annotations = {"edge5g.io/settings": stamp}
    metadata = {"name": DEPLOYMENT, "namespace": OPERATOR_NAMESPACE}
    return {
        "config.json": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(environment)},
        "deployment.json": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        },
    }


def _files(folder: Path) -> Iterator[Path]:
    """The manifests that the kustomization in `folder` consists of."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = (folder / name).resolve()
        yield from _files(path) if path.is_dir() else [path]


def _old_kustomize(cluster: Cluster) -> bool:
    version = json.loads(cluster.kubectl("version", "--client", "-o", "json").stdout)["clientVersion"]
    return (int(version["major"]), int(re.sub(r"[^0-9].*", "", version["minor"]))) < (1, 22)
